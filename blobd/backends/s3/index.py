"""The index: which objects a digest names. A blob is what its index record says.

    index/<algorithm>/<first two>/<encoded>    JSON: the blob's segments, and when it was stored
    doomed/<object>                            JSON: the digest that named an object last

Objects are named by one upload each, for ever, so a record is never wrong about bytes: it names
all of a blob, or it is not there. Records are small and overwritten whole.

A record with `quarantined_at` keeps the bytes of a damaged blob: it names no blob, but its objects
stay, until a commit or a delete of the digest replaces it.

An object that no record names stays for clients that are still reading it, or hold a redirect to
it. It is *doomed*: noted, and removed by the sweep long after, if no record names it then.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from blobd.backends.s3.session_log import Segment
from blobd.digest import Digest, MalformedDigest
from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.backends.s3.calls import S3Calls

INDEX, OBJECTS, DOOMED = "index/", "objects/", "doomed/"
_KNOWN_MAX = 4096
_KNOWN_S = 5.0
_LOCKS = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a blob's bytes are."""

    segments: tuple[Segment, ...]
    stored_at: float
    quarantined_at: float | None = None

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)


class Index:
    """The index records of a bucket. Every method blocks."""

    def __init__(self, calls: S3Calls) -> None:
        self._calls = calls
        self._known: OrderedDict[Digest, tuple[Entry, float]] = OrderedDict()
        self._changing = tuple(threading.Lock() for _ in range(_LOCKS))
        """Each is held while a record of its digests is replaced or removed."""

    def find(self, digest: Digest, *, fresh: bool = False) -> Entry | None:
        """Return where a blob is; None where there is none, or only damaged bytes.

        What was found is believed for some seconds, unless a `fresh` look is wanted; that there
        is nothing is never believed.
        """
        entry = self.look(digest, fresh=fresh)
        return None if entry is None or entry.quarantined_at is not None else entry

    def look(self, digest: Digest, *, fresh: bool = True) -> Entry | None:
        """Return what a digest's record says, of damaged bytes too; None where there is none."""
        known = self._known.get(digest)
        if known is not None and not fresh and time.monotonic() - known[1] < _KNOWN_S:
            return known[0]
        body = self._calls.get(key_of(digest))
        if body is None:
            self.forget(digest)
            return None
        entry = _parsed(digest, body)
        self._known[digest] = entry, time.monotonic()
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return entry

    def publish(self, digest: Digest, segments: tuple[Segment, ...]) -> bool:
        """Let a digest name these bytes; return whether it named others, which are doomed."""
        body = _written(Entry(segments, time.time()))
        key = key_of(digest)
        with self._changing[hash(digest) % _LOCKS]:
            try:
                if self._calls.conditional and self._calls.put_new(key, body):
                    return False
                before = self.look(digest)
                if before is not None and before.segments == segments:
                    return False
                for segment in () if before is None else before.segments:
                    self._doom(digest, segment.key)
                self._calls.put(key, body)
                return before is not None and before.quarantined_at is None
            finally:
                self.forget(digest)

    def remove(self, digest: Digest) -> Entry | None:
        """Let a digest name nothing; return what it named, which is doomed."""
        with self._changing[hash(digest) % _LOCKS]:
            before = self.look(digest)
            if before is not None:
                for segment in before.segments:
                    self._doom(digest, segment.key)
                self._calls.delete(key_of(digest))
                self.forget(digest)
            return before

    def quarantine(self, digest: Digest) -> None:
        """Let a digest name no blob, and its objects stay."""
        with self._changing[hash(digest) % _LOCKS]:
            entry = self.find(digest, fresh=True)
            if entry is not None:
                kept = replace(entry, quarantined_at=time.time())
                self._calls.put(key_of(digest), _written(kept))
                self.forget(digest)

    def forget(self, digest: Digest) -> None:
        """Drop what is cached of a digest."""
        self._known.pop(digest, None)

    def is_doomed(self, key: str) -> bool:
        """Whether an object was named once, and then no more."""
        return self._calls.size(_doom_key(key)) is not None

    def doom_unnamed(self, digest: Digest, keys: frozenset[str]) -> None:
        """Doom those of a commit's objects that its digest does not name, if others' it names."""
        entry = self.look(digest)
        if entry is not None:
            for key in keys - {segment.key for segment in entry.segments}:
                self._doom(digest, key)

    def digests(self, *, after: Digest | None) -> Iterator[Digest]:
        """Yield what has a record, in order. What is not understood is passed over."""
        start = "" if after is None else key_of(after)
        for item in self._calls.list(INDEX, after=start):
            try:
                algorithm, _, encoded = item.key.removeprefix(INDEX).split("/")
                digest = Digest.parse(f"{algorithm}:{encoded}")
            except (ValueError, MalformedDigest):
                continue
            if key_of(digest) == item.key and digest.supported:
                yield digest

    def doomed(self) -> Iterator[tuple[str, Digest, float]]:
        """Yield doomed objects' keys, the digests that named them last, and since when."""
        for item in self._calls.list(DOOMED):
            body = self._calls.get(item.key)
            try:
                digest = Digest.parse(json.loads(body or b"")["digest"])
            except (ValueError, KeyError, TypeError, MalformedDigest):
                continue
            yield OBJECTS + item.key.removeprefix(DOOMED), digest, item.modified_at

    def sweep(self, key: str, digest: Digest) -> bool:
        """Remove a doomed object unless it is named again; return whether it was removed."""
        entry = self.look(digest)
        named = entry is not None and key in {segment.key for segment in entry.segments}
        if not named:
            self._calls.delete(key)
        self._calls.delete(_doom_key(key))
        return not named

    def _doom(self, digest: Digest, key: str) -> None:
        self._calls.put(_doom_key(key), json.dumps({"digest": str(digest)}).encode())


def key_of(digest: Digest) -> str:
    """Return the key of a digest's index record."""
    return f"{INDEX}{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}"


def _doom_key(key: str) -> str:
    return DOOMED + key.removeprefix(OBJECTS)


def _written(entry: Entry) -> bytes:
    document: dict[str, Any] = {
        "segments": [each.document() for each in entry.segments],
        "stored_at": entry.stored_at,
    }
    if entry.quarantined_at is not None:
        document["quarantined_at"] = entry.quarantined_at
    return json.dumps(document).encode()


def _parsed(digest: Digest, body: bytes) -> Entry:
    try:
        document: dict[str, Any] = json.loads(body)
        segments = tuple(Segment.of(each) for each in document["segments"])
        quarantined_at = document.get("quarantined_at")
        return Entry(
            segments,
            float(document["stored_at"]),
            None if quarantined_at is None else float(quarantined_at),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackendUnavailable(f"the index record of {digest} cannot be read") from error
