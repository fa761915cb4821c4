"""What all writers of a bucket share, and the acts on a session that take more than one call.

    uploads/<id>/…        sessions               `s3/session_log.py`
    objects/<id>-<nonce>  bytes, never renamed   one upload's, which its key names
    index/…  doomed/…     what digests name      `s3/index.py`
    store.id              the marker: an id on a line

How a commit is decided
    The receipt is written first: the record with the next number, naming the digest, and the parts
    of which the blob is made. The writer of that number has no rival left, so it then completes the
    multipart upload, and writes the index record last. A crash in between leaves a receipt, and
    whichever process reads that does the rest.

Which writer may write to a multipart upload that a record names
    The one that wrote the record, unless the upload is *resting*. A successor of a writer that may
    still be sending completes the parts that count, which ends the multipart upload, and begins
    another one; a successor of a resting one claims it with the next record before it sends parts.

Every method blocks. One hand-over to a thread does a whole act, so that a cancelled caller
finds it done or not done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blobd.backends.s3.calls import MultipartGone, PartsDiffer
from blobd.backends.s3.index import OBJECTS
from blobd.backends.s3.session_log import FRESH_S, Segment, Taken
from blobd.errors import BackendUnavailable, StorageLost, UploadOvertaken, UploadUnknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.backends.base import Admits, Buffer
    from blobd.backends.s3.calls import S3Calls
    from blobd.backends.s3.index import Index
    from blobd.backends.s3.part_memory import PartMemory
    from blobd.backends.s3.session_log import Multipart, SessionLog, State
    from blobd.digest import Digest
    from blobd.metrics import Metrics
    from blobd.threads import Threads

_COMPLETE_TRIES = 5


@dataclass(frozen=True, slots=True)
class Bucket:
    """Calls, records and memory of one bucket."""

    calls: S3Calls
    log: SessionLog
    index: Index
    threads: Threads
    memory: PartMemory
    metrics: Metrics
    part_size_bytes: int
    parts_in_flight: int
    most_parts: int
    """Of one multipart upload; a session goes on in another one."""

    def look(self, upload_id: str, admits: Admits | None = None, *, untold: bool = False) -> State:
        """Return what an open session is. Raises UploadUnknown, and what `admits` raises."""
        state = self.log.begun(upload_id) if untold else None
        state = state or self.log.latest(upload_id)
        if state is None or not state.is_open:
            raise UploadUnknown(upload_id)
        if admits is not None:
            admits(state.record(upload_id))
        return state

    def measure(self, segments: Sequence[Segment]) -> int | None:
        """Return how many bytes of these segments are there; None where an object is gone."""
        measured_bytes = 0
        for segment in segments:
            found_bytes = self.calls.size(segment.key)
            if found_bytes is None:
                return None
            measured_bytes += min(found_bytes, segment.size_bytes)
        return measured_bytes

    def enter(self, upload_id: str, admits: Admits | None, *, untold: bool) -> State:
        """Become a session's writer; return where it stands.

        Raises UploadUnknown, UploadOvertaken, StorageLost.
        """
        state = self.look(upload_id, admits, untold=untold)
        if state.resting and abs(time.time() - state.touched_at) < FRESH_S:
            return state
        claimed = self.claim(upload_id, state, state.number + 1)
        return claimed if state.resting else self.seal(upload_id, claimed)

    def claim(self, upload_id: str, state: State, number: int) -> State:
        """Write a record that only says whose the upload is now. Raises UploadOvertaken."""
        claim = replace(state, number=number, resting=False, touched_at=state.later())
        return self.add(upload_id, claim)

    def add(self, upload_id: str, state: State, tail: Buffer = b"") -> State:
        """Write a session's next record; return it as it stands. Raises UploadOvertaken."""
        try:
            return self.log.add(upload_id, state, tail)
        except Taken:
            raise UploadOvertaken(upload_id, state.offset) from None

    def seal(self, upload_id: str, state: State) -> State:
        """Complete the parts that count, which ends the multipart upload; return the state then.

        Nothing is recorded: until it is, the last record says the same in other words.
        Raises StorageLost.
        """
        multipart = state.multipart
        if multipart is None:
            return state
        segments = state.segments
        if multipart.parts:
            whole = self._completed(upload_id, multipart, state.in_parts_bytes)
            segments = (*segments, Segment(multipart.key, state.in_parts_bytes, whole=whole))
        else:
            self.calls.abort(multipart.key, multipart.multipart_id)
        return replace(state, segments=segments, multipart=None)

    def _completed(self, upload_id: str, multipart: Multipart, size_bytes: int) -> bool:
        """Make an object that begins with the parts that count; return whether it ends with them.

        Parts of an overtaken writer lie behind them, and may have to be among its parts.
        """
        key, parts = multipart.key, multipart.parts
        for _ in range(_COMPLETE_TRIES):
            try:
                self.calls.complete(key, multipart.multipart_id, parts)
                return len(parts) == len(multipart.parts)
            except PartsDiffer:
                parts = tuple(self.calls.parts(key, multipart.multipart_id))
                if parts[: len(multipart.parts)] != multipart.parts:
                    raise StorageLost(f"parts of upload {upload_id} are others' now") from None
            except MultipartGone:
                found_bytes = self.calls.size(key)
                if found_bytes is None or found_bytes < size_bytes:
                    raise StorageLost(
                        f"the engine has lost the parts of upload {upload_id}"
                    ) from None
                return found_bytes == size_bytes
        raise BackendUnavailable(f"parts of upload {upload_id} keep arriving")

    def publish(self, upload_id: str, digest: Digest, receipt: State) -> bool:
        """Make a receipt's bytes the blob; return whether equal bytes were there before.

        Raises StorageLost.
        """
        return self.index.publish(digest, self.seal(upload_id, receipt).segments)

    def settle(self, upload_id: str, digest: Digest, receipt: State) -> None:
        """Do what a crash has kept a commit from doing. Raises StorageLost."""
        if self.index.look(digest) is not None:
            return
        if any(self.index.is_doomed(key) for key in _keys(receipt)):
            return  # the blob was there, and has been deleted
        for segment in receipt.segments:
            found_bytes = self.calls.size(segment.key)
            if found_bytes is None or found_bytes < segment.size_bytes:
                return  # deleted long ago: no trace of it is left
        self.publish(upload_id, digest, receipt)

    def forget(self, upload_id: str) -> None:
        """Remove a receipt, or what an abort has left."""
        state = self.log.latest(upload_id)
        if state is None or state.is_open:
            return
        kept = frozenset[str]()
        if state.committed is not None:
            self.settle(upload_id, state.committed, state)
            kept = _keys(state)
            self.index.doom_unnamed(state.committed, kept)
        self._remove_objects(upload_id, kept)
        self.log.remove(upload_id)

    def remove(self, upload_id: str, ended: State) -> None:
        """Remove what is left of a session that was aborted."""
        if ended.multipart is not None:
            self.calls.abort(ended.multipart.key, ended.multipart.multipart_id)
        self._remove_objects(upload_id, frozenset())
        self.log.remove(upload_id)

    def _remove_objects(self, upload_id: str, kept: frozenset[str]) -> None:
        for item in list(self.calls.list(f"{OBJECTS}{upload_id}-")):
            if item.key not in kept:
                self.calls.delete(item.key)
                self.metrics.s3_wasted_bytes.inc(item.size_bytes)


def _keys(state: State) -> frozenset[str]:
    """Return the objects that a record names, or will."""
    keys = {segment.key for segment in state.segments}
    if state.multipart is not None:
        keys.add(state.multipart.key)
    return frozenset(keys)
