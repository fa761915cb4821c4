"""What crashes leave in a bucket, found by listing, and removed once nothing can need it.

    session     aborted, and not removed to the end
    multipart   a multipart upload that no open session names: its writer died before a record
    replaced    an object that a digest named once; it stayed for its readers
    object      an object without a record: its session has ended, and no digest names it

Objects and sessions have one upload's name, so whether an object may still be committed is
asked of that session, just before the removal and long after its end. What has another form than
blobd gives it is passed over. Every method blocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.backends.base import Orphan
from blobd.backends.s3.index import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blobd.backends.s3.bucket import Bucket

_OBJECT = re.compile(re.escape(OBJECTS) + "([0-9a-f]{32})-([0-9a-f]{16})")
_UNRECORDED_S = 3600.0
"""A writer saves every few seconds: what no record has named for this long never will be."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One look through a bucket."""

    bucket: Bucket
    grace_s: float
    remove: bool
    clock: Callable[[], float]

    def shallow(self) -> Iterator[Orphan]:
        """Yield what shows without reading every record."""
        yield from self._sessions()
        yield from self._multiparts()
        yield from self._replaced()

    def deep(self) -> Iterator[Orphan]:
        """Yield what only a comparison of all records with all objects shows.

        Reads each record once, and holds 24 bytes of the name of each object that one names.
        """
        named: set[bytes] = set()
        for digest in self.bucket.index.digests(after=None):
            entry = self.bucket.index.look(digest)
            for segment in () if entry is None else entry.segments:
                match = _OBJECT.fullmatch(segment.key)
                if match is not None:
                    named.add(_packed(match))
        yield from self._objects(named)

    def _sessions(self) -> Iterator[Orphan]:
        for upload_id, state in self.bucket.log.sessions():
            if state.aborted and self._is_old(state.touched_at, _UNRECORDED_S):
                if self.remove:
                    self.bucket.remove(upload_id, state)
                yield Orphan("session", upload_id, state.offset, removed=self.remove)

    def _multiparts(self) -> Iterator[Orphan]:
        for found in self.bucket.calls.multiparts(OBJECTS):
            match = _OBJECT.fullmatch(found.key)
            if match is None or not self._is_old(found.begun_at, _UNRECORDED_S):
                continue
            state = self.bucket.log.latest(match[1])
            known = None if state is None or state.aborted else state.multipart
            if known is None or known.multipart_id != found.multipart_id:
                if self.remove:
                    self.bucket.calls.abort(found.key, found.multipart_id)
                yield Orphan("multipart", found.key, None, removed=self.remove)

    def _replaced(self) -> Iterator[Orphan]:
        for key, digest, doomed_at in self.bucket.index.doomed():
            if self._is_old(doomed_at, self.grace_s):
                size_bytes = self.bucket.calls.size(key)
                removed = self.remove and self.bucket.index.sweep(key, digest)
                yield Orphan("replaced", key, size_bytes, removed=removed)

    def _objects(self, named: set[bytes]) -> Iterator[Orphan]:
        for item in self.bucket.calls.list(OBJECTS):
            match = _OBJECT.fullmatch(item.key)
            if (
                match is None
                or _packed(match) in named
                or not self._is_old(item.modified_at, self.grace_s)
            ):
                continue
            if self.bucket.index.is_doomed(item.key) or self.bucket.log.latest(match[1]):
                continue
            if self.remove:
                self.bucket.calls.delete(item.key)
            yield Orphan("object", item.key, item.size_bytes, removed=self.remove)

    def _is_old(self, since: float, grace_s: float) -> bool:
        return self.clock() - since > grace_s


def _packed(object_name: re.Match[str]) -> bytes:
    return bytes.fromhex(object_name[1] + object_name[2])
