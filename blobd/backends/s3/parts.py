"""The parts of one writer on their way: several at a time, out of buffers that it holds.

A part is sent when it is full and more bytes come, so that all but the last have one size. Buffers
belong to the parts, not to who appends: work that is abandoned goes on for a moment, gives its
memory back when it is done, and harms nobody, because no record names its part.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from blobd.backends.s3.index import OBJECTS
from blobd.backends.s3.part_memory import End
from blobd.backends.s3.session_log import Multipart
from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

    from blobd.backends.s3.bucket import Bucket
    from blobd.backends.s3.part_memory import Held
    from blobd.threads import Handed

_SMALL_BYTES = 64 * 1024
"""So little is no part's memory: many small blobs would wait for each other."""

_log = logging.getLogger("blobd.s3")


@dataclass(frozen=True, slots=True)
class _Sending:
    """A part on its way."""

    number: int
    content: End
    etag: Handed[str]


class Parts:
    """One multipart upload, being written."""

    def __init__(
        self,
        bucket: Bucket,
        upload_id: str,
        multipart: Multipart | None,
        *,
        size_bytes: int,
        account: str,
    ) -> None:
        """`account` is whose share of the memory the parts take."""
        self._bucket = bucket
        self._upload_id = upload_id
        self._size_bytes = size_bytes
        self._held: Held = bucket.memory.hold(account)
        self._in_flight: list[_Sending] = []
        self._occupied = 0
        """How many buffers hold parts that the engine does not have yet."""
        self._kept = 1
        """How many are held beside those: the one that is being filled, until the end."""
        self._small = bytearray()
        self._memory: mmap | None = None
        """Where the bytes are that are in no part yet: here, or while they are few in `_small`."""
        self._filled_bytes = 0
        self.multipart = multipart
        """With the parts that have arrived, by number; gaps are in flight."""

    @property
    def rest_bytes(self) -> int:
        """How many bytes are in no part yet."""
        return len(self._small) if self._memory is None else self._filled_bytes

    def rest(self) -> memoryview:
        """Return the bytes that are in no part yet, as they are until the next call."""
        if self._memory is None:
            return memoryview(bytes(self._small))
        return memoryview(self._memory)[: self._filled_bytes]

    async def begin_with(
        self, name: str, size_bytes: int, read: Callable[[memoryview], None]
    ) -> None:
        """Begin with the rest that was left by this name, or what `read`, on a thread, fills in.

        There must be no rest so far. Raises BudgetExhausted, and what `read` raises; then, and if
        cancelled, there is still none.
        """
        end = self._held.take(name)
        if end is None:
            end = await self._read_end(size_bytes, read)
        if isinstance(end.memory, bytearray):
            self._small = end.memory
        else:
            self._memory, self._filled_bytes = end.memory, end.size_bytes

    async def _read_end(self, size_bytes: int, read: Callable[[memoryview], None]) -> End:
        if size_bytes <= _SMALL_BYTES:
            end = End(bytearray(size_bytes), size_bytes)
        else:
            await self._held.first()
            end = End(self._held.lend(self._size_bytes), size_bytes)
        try:
            with memoryview(end.memory)[:size_bytes] as view:
                await self._bucket.threads.run(read, view)
        except BaseException:
            self._held.used(end.memory)
            raise
        return end

    def leave(self, name: str) -> None:
        """Keep the rest by this name for who takes the upload up next, if that is soon."""
        self._held.keep(name, self._take_rest())

    def _take_rest(self) -> End:
        if self._memory is None:
            rest = End(self._small, len(self._small))
        else:
            rest = End(self._memory, self._filled_bytes)
        self._small, self._memory, self._filled_bytes = bytearray(), None, 0
        return rest

    @property
    def are_most(self) -> bool:
        """Whether no more parts fit into this multipart upload, but for a last one."""
        return self._next_part >= self._bucket.most_parts

    @property
    def _next_part(self) -> int:
        arrived = 0 if self.multipart is None else len(self.multipart.parts)
        return arrived + len(self._in_flight) + 1

    async def add(self, view: memoryview) -> int:
        """Take bytes to the rest; return how many: none where it is enough for a part.

        Raises BudgetExhausted.
        """
        if self._memory is None:
            if len(self._small) + view.nbytes <= min(_SMALL_BYTES, self._size_bytes):
                self._small += view
                return view.nbytes
            self._memory = await self._grown()
        taken = view[: self._size_bytes - self._filled_bytes]
        with memoryview(self._memory) as memory:
            memory[self._filled_bytes : self._filled_bytes + taken.nbytes] = taken
        self._filled_bytes += taken.nbytes
        return taken.nbytes

    async def _grown(self) -> mmap:
        """Return memory of a part's size that begins with the few bytes there are."""
        await self._held.first()
        memory = self._held.lend(self._size_bytes)
        memory[: len(self._small)] = self._small
        self._filled_bytes, self._small = len(self._small), bytearray()
        return memory

    async def send(self) -> None:
        """Let the rest, which is enough for a part, become one; return when there is room again.

        Raises BackendUnavailable, MultipartGone: of this part, or one before it.
        """
        if self._memory is None:
            self._memory = await self._grown()
        await self._start()
        while self._held.count <= self._occupied and not self._held.further():
            await self._arrived()

    async def send_last(self) -> asyncio.Future[str]:
        """Let the rest, behind which nothing comes, be a part; return its ETag to come.

        Raises as `send` does.
        """
        await self._start()
        return self._in_flight[-1].etag

    async def _start(self) -> None:
        bucket = self._bucket
        multipart = self.multipart
        if multipart is None:
            multipart = await bucket.threads.run(self._begin)
        while len(self._in_flight) >= bucket.parts_in_flight:
            await self._arrived()
        number, content = self._next_part, self._take_rest()
        put = bucket.calls.put_part
        body = memoryview(content.memory)[: content.size_bytes]
        etag = bucket.threads.start(put, multipart.key, multipart.multipart_id, number, body)
        self._in_flight.append(_Sending(number, content, etag))
        self._occupied += content.in_buffer
        etag.add_done_callback(partial(self._ended, content))

    def _ended(self, content: End, etag: asyncio.Future[str]) -> None:
        """Give back the memory of a part that the engine has, or that was abandoned.

        At once, and not only when the client goes on: it may be a long time until then.
        """
        self._held.used(content.memory)
        self._occupied -= content.in_buffer
        self._held.shrink(self._occupied + self._kept)
        if not etag.cancelled():
            etag.exception()  # a caller that still wants it finds it in the future

    async def settle(self) -> None:
        """Wait until all parts have arrived. Raises as `send` does."""
        while self._in_flight:
            await self._arrived()

    async def _arrived(self) -> None:
        """Wait until some part has arrived: the first sent is not always the first there."""
        in_flight = self._in_flight
        await asyncio.wait(
            [sending.etag for sending in in_flight], return_when=asyncio.FIRST_COMPLETED
        )
        for sending in [sending for sending in in_flight if sending.etag.done()]:
            etag = sending.etag.result()
            in_flight.remove(sending)
            self._count(sending.number, etag)

    def _count(self, number: int, etag: str) -> None:
        if self.multipart is not None:
            parts = sorted((*self.multipart.parts, (number, etag)))
            self.multipart = replace(self.multipart, parts=tuple(parts))

    def put_alone(self) -> str:
        """Send what is left as an object of its own; return its key. Blocks."""
        key = self._new_key()
        self._bucket.calls.put(key, self.rest())
        self._small.clear()
        self._filled_bytes = 0
        return key

    def abandon(self, *, unrecorded: bool) -> None:
        """Let go of rest and parts; `unrecorded`: no record names this multipart upload."""
        wasted_bytes = 0
        for sending in self._in_flight:
            wasted_bytes += sending.content.size_bytes
            sending.etag.abandon()
        self._in_flight.clear()
        if self._memory is not None:
            self._held.used(self._memory)
            self._memory = None
        self._kept = 0
        self._held.shrink(self._occupied)
        if unrecorded and self.multipart is not None:
            self._bucket.threads.later(self._abort, self.multipart)
            wasted_bytes += len(self.multipart.parts) * self._size_bytes
        self._bucket.metrics.s3_wasted_bytes.inc(wasted_bytes)
        self.multipart, self._small = None, bytearray()

    def _abort(self, multipart: Multipart) -> None:
        try:
            self._bucket.calls.abort(multipart.key, multipart.multipart_id)
        except BackendUnavailable as error:
            _log.info("%s stays for the sweep: %s", multipart.key, error)

    def _begin(self) -> Multipart:
        key = self._new_key()
        self.multipart = Multipart(key, self._bucket.calls.create_multipart(key), ())
        return self.multipart

    def _new_key(self) -> str:
        return f"{OBJECTS}{self._upload_id}-{secrets.token_hex(8)}"
