"""One writer's hand on a session in the bucket: bytes become parts while they arrive.

What a writer has appended since the record is its own: it lies in parts that no record names and in
the buffer. When something fails, or the writer is cancelled, it is back at the record; the end of
the upload that lies behind the record is fetched only when it is needed.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from blobd.backends.base import Committed
from blobd.backends.s3.calls import MultipartGone
from blobd.backends.s3.parts import Parts
from blobd.backends.s3.read import read_segments
from blobd.backends.s3.session_log import Segment
from blobd.digest import Span
from blobd.errors import BackendUnavailable, UploadOvertaken, UploadUnknown
from blobd.fairness import acting_for
from blobd.threads import outlast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from blobd.backends.base import Admits, Buffer, Record
    from blobd.backends.s3.bucket import Bucket
    from blobd.backends.s3.session_log import State
    from blobd.backends.writer_locks import WriterLock
    from blobd.digest import Digest


_PIECE_BYTES = 1024 * 1024


class S3Staging:
    """A Staging (see `base.py`). `enter` and `lock` make it a writer's.

    Its memory is counted as that of the account which the task acts for that makes it.
    """

    trusted = True
    lock: WriterLock

    def __init__(self, bucket: Bucket, upload_id: str) -> None:
        self._bucket = bucket
        self._upload_id = upload_id
        self._account = acting_for()
        self._state: State
        self._number = 0
        """The last record number that was tried."""
        self._receipt: State | None = None
        self._deciding = False
        """Whether a receipt may have been written, although nobody has said so."""
        self._committed: Committed | None = None
        self._ended: State | None = None
        self._aborted = False

    def _stand_at(self, state: State) -> None:
        self._state = state
        self._offset = state.offset
        self._segments = state.segments
        self._parts = Parts(
            self._bucket,
            self._upload_id,
            state.multipart,
            size_bytes=state.part_size_bytes,
            account=self._account,
        )
        self._tail_fetched = not state.tail_bytes
        """Whether the end of the upload that lies behind the record is in the buffer."""
        self._must_seal = False
        """Whether parts may be on their way that no record will name."""

    def look(self, admits: Admits | None) -> None:
        """See where the session stands, disturbing nobody. Blocks. Raises as `Bucket.look`."""
        self._state = self._bucket.look(self._upload_id, admits)

    def enter(self, admits: Admits | None, *, untold: bool) -> None:
        """Become the writer, of all processes. Blocks. Raises as `Bucket.enter`."""
        state = self._bucket.enter(self._upload_id, admits, untold=untold)
        self._number = state.number
        self._stand_at(state)

    def saved_offset(self) -> int:
        """Return the offset of the last record seen."""
        return self._state.offset

    @property
    def record(self) -> Record:
        return self._state.record(self._upload_id)

    @property
    def offset(self) -> int:
        return self._offset

    async def append(self, pieces: Sequence[Buffer]) -> None:
        self._check_writer()
        with self._or_at_the_record(BaseException):
            await self._fetch_tail()
            for piece in pieces:
                await self._add(memoryview(piece))

    async def _add(self, view: memoryview) -> None:
        while view.nbytes:
            taken_bytes = await self._parts.add(view)
            self._offset += taken_bytes
            view = view[taken_bytes:]
            if not taken_bytes:
                await self._send()

    async def _send(self) -> None:
        """Let the buffer, which is full, become a part."""
        if self._must_seal or self._parts.are_most:
            await self._parts.settle()
            await self._bucket.threads.run(self._seal)
        elif self._borrows:
            await self._bucket.threads.run(self._claim)
        await self._parts.send()

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:
        self._check_writer()
        with self._or_at_the_record(Exception):
            if self._parts.rest_bytes == self._state.part_size_bytes:
                await self._send()
            await self._parts.settle()
            await self._bucket.threads.run(self._save, memo, last=last)

    def _save(self, memo: bytes, *, last: bool) -> None:
        state = replace(self._next(), memo=memo, resting=last)
        tail = self._parts.rest() if self._tail_fetched else b""
        self._state = self._bucket.add(self._upload_id, state, tail)
        self._bucket.log.tidy(self._upload_id, self._state)

    async def read(self, span: Span) -> AsyncIterator[Buffer]:
        self._check_writer()
        with self._or_at_the_record(Exception):
            await self._fetch_tail()
            await self._parts.settle()
            await self._bucket.threads.run(self._seal)
        stored_bytes = sum(segment.size_bytes for segment in self._segments)
        stored = Span(min(span.start, stored_bytes), min(span.stop, stored_bytes))
        bucket = self._bucket
        pieces = read_segments(bucket.calls, bucket.threads, self._segments, stored)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        start, stop = max(0, span.start - stored_bytes), max(0, span.stop - stored_bytes)
        for at in range(start, stop, _PIECE_BYTES):
            yield bytes(self._parts.rest()[at : min(at + _PIECE_BYTES, stop)])

    async def commit(self, digest: Digest) -> Committed:
        if self._receipt is None:
            self._check_writer()
            with self._or_at_the_record(Exception):
                await self._fetch_tail()
                await self._send_last()
                await self._parts.settle()
        return await self._bucket.threads.run(self._commit, digest)

    async def _send_last(self) -> None:
        """Let the rest go beside the parts before it, if there are any that it may follow.

        What the record says already is not worth a claim: no other part is on its way then, and
        this one outlasts a cancellation, so that a successor's of the same number comes later.
        """
        if self._parts.multipart is None or self._must_seal or not self._parts.rest_bytes:
            return
        unchanged = self._offset == self._state.offset
        if self._borrows and not unchanged:
            await self._bucket.threads.run(self._claim)
        etag = await self._parts.send_last()
        if unchanged:
            await outlast(etag)

    def _commit(self, digest: Digest) -> Committed:
        if self._committed is None:
            if self._receipt is None:
                self._receipt = self._state = self._decide(digest)
            replaced = self._bucket.publish(self._upload_id, digest, self._receipt)
            self._committed = Committed(digest, self._offset, replaced)
        return self._committed

    def _decide(self, digest: Digest) -> State:
        """Send what is in no part, and write the receipt."""
        self._put_rest()
        state = replace(self._next(), committed=digest, resting=True)
        self._deciding = True
        try:
            return self._bucket.add(self._upload_id, state)
        except UploadOvertaken:
            self._deciding = False
            raise

    def _put_rest(self) -> None:
        size_bytes = self._parts.rest_bytes
        if self._must_seal:
            self._seal()
        if size_bytes:
            self._segments = (*self._segments, Segment(self._parts.put_alone(), size_bytes))

    async def abort(self) -> None:
        if self._committed is not None or self._aborted:
            return
        if self._ended is None:
            self._check_writer()
        await self._bucket.threads.run(self._abort)

    def _abort(self) -> None:
        if self._aborted:
            return
        if self._ended is None:
            self._ended = self._bucket.add(self._upload_id, replace(self._next(), aborted=True))
        self._bucket.remove(self._upload_id, self._ended)
        self._aborted = True

    def guard(self) -> AbstractAsyncContextManager[None]:
        return self.lock.guard()

    async def aclose(self) -> None:
        if self._leaves_tail:
            self._parts.leave(self._state.tail_key)
        self._parts.abandon(unrecorded=self._parts.multipart is not None and not self._is_recorded)
        self.lock.release()

    def _check_writer(self) -> None:
        if self._receipt is not None or self._ended is not None:
            raise UploadUnknown(self._upload_id)
        self.lock.check()
        if self._deciding:
            raise BackendUnavailable(f"upload {self._upload_id} may have been committed")

    @property
    def _is_recorded(self) -> bool:
        """Whether the multipart upload in hand is the record's."""
        ours, theirs = self._parts.multipart, self._state.multipart
        return ours is not None and theirs is not None and ours.multipart_id == theirs.multipart_id

    @property
    def _borrows(self) -> bool:
        """Whether the multipart upload in hand may be another's too, by a record at rest."""
        return self._state.resting and self._is_recorded

    @property
    def _leaves_tail(self) -> bool:
        """Whether the rest is the tail of a record with which a successor goes on."""
        state = self._state
        unchanged = self._offset == state.offset and self._parts.rest_bytes == state.tail_bytes
        return state.is_open and state.resting and unchanged and bool(state.tail_bytes)

    def _claim(self) -> None:
        self._number += 1
        self._state = self._bucket.claim(self._upload_id, self._state, self._number)

    def _seal(self) -> None:
        if self._borrows:
            self._claim()
        self._segments = self._bucket.seal(self._upload_id, self._now()).segments
        self._parts.multipart = None
        self._must_seal = False

    def _now(self) -> State:
        """Return what has been appended and sent, as a record would say it."""
        state = self._state
        return replace(
            state,
            offset=self._offset,
            segments=self._segments,
            multipart=self._parts.multipart,
            tail_key="" if self._tail_fetched else state.tail_key,
            tail_bytes=self._parts.rest_bytes if self._tail_fetched else state.tail_bytes,
            touched_at=state.later(),
        )

    def _next(self) -> State:
        """Return the same with a number that was never tried."""
        self._number += 1
        return replace(self._now(), number=self._number)

    async def _fetch_tail(self) -> None:
        if not self._tail_fetched:
            state = self._state
            read = partial(self._bucket.log.read_tail, state)
            await self._parts.begin_with(state.tail_key, state.tail_bytes, read)
            self._tail_fetched = True

    @contextmanager
    def _or_at_the_record(self, failure: type[BaseException]) -> Iterator[None]:
        """Stand at the record again if the block fails in this way."""
        try:
            yield
        except failure as error:
            self._parts.abandon(
                unrecorded=self._parts.multipart is not None and not self._is_recorded
            )
            self._stand_at(self._state)
            self._must_seal = self._is_recorded and not self._state.resting
            if isinstance(error, MultipartGone):
                raise self.lock.overtaken() from None
            raise
