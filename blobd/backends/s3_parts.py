"""The parts of one writer on their way: several at a time, out of buffers that he holds.

A part is sent when it is full and more bytes come, so that all but the last have one size. Buffers
belong to the parts, not to who appends: work that is abandoned goes on for a moment, gives its
memory back when it is done, and harms nobody, because no record names its part.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from blobd.backends.s3_index import OBJECTS
from blobd.backends.s3_log import Multipart
from blobd.backends.threads import outlast
from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    import asyncio

    from blobd.backends.part_memory import Held
    from blobd.backends.s3_bucket import Bucket

MOST_PARTS = 10_000
"""Of one multipart upload (Amazon S3, "Multipart upload limits")."""
_SMALL_BYTES = 64 * 1024
"""So little is no part's memory: many small blobs would wait for each other."""

_log = logging.getLogger("blobd.s3")


class Parts:
    """One multipart upload, being written."""

    def __init__(
        self, bucket: Bucket, upload_id: str, multipart: Multipart | None, *, size_bytes: int
    ) -> None:
        self._bucket = bucket
        self._upload_id = upload_id
        self._size_bytes = size_bytes
        self._held: Held = bucket.memory.hold()
        self._in_flight: deque[tuple[int, int, asyncio.Future[str]]] = deque()
        self.buffer = bytearray()
        """The bytes that are in no part yet."""
        self.multipart = multipart
        """With the parts that have arrived."""

    @property
    def are_most(self) -> bool:
        """Whether no more parts fit into this multipart upload, but for a last one."""
        return self._next_part >= MOST_PARTS

    @property
    def _next_part(self) -> int:
        arrived = 0 if self.multipart is None else len(self.multipart.parts)
        return arrived + len(self._in_flight) + 1

    async def add(self, view: memoryview) -> int:
        """Take bytes into the buffer; return how many: none where it is full.

        Raises BudgetExhausted.
        """
        if len(self.buffer) + view.nbytes > _SMALL_BYTES:
            await self._held.first()
        taken = view[: self._size_bytes - len(self.buffer)]
        self.buffer += taken
        return taken.nbytes

    async def send(self) -> None:
        """Let the buffer become a part; return when there is room for another one.

        Raises BackendUnavailable, MultipartGone: of this part, or one before it.
        """
        bucket = self._bucket
        multipart = self.multipart
        if multipart is None:
            multipart = await bucket.threads.run(self._begin)
        await self._held.first()
        while len(self._in_flight) >= bucket.parts_in_flight:
            await self._arrived()
        number = self._next_part
        body, self.buffer = self.buffer, bytearray()
        sending = bucket.threads.start(
            bucket.calls.put_part,
            multipart.key,
            multipart.multipart_id,
            number,
            body,
        )
        self._in_flight.append((number, len(body), sending))
        while self._held.count <= len(self._in_flight) and not self._held.further():
            await self._arrived()

    async def settle(self) -> None:
        """Wait until all parts have arrived. Raises as `send` does."""
        while self._in_flight:
            await self._arrived()

    async def _arrived(self) -> None:
        number, _, sending = self._in_flight[0]
        etag = await outlast(sending)
        self._in_flight.popleft()
        self._count(number, etag)
        self._held.shrink(len(self._in_flight) + 1)

    def send_last(self, multipart: Multipart) -> None:
        """Send what is left as its last part. Blocks. Raises as `send` does."""
        key, multipart_id, number = multipart.key, multipart.multipart_id, self._next_part
        self._count(number, self._bucket.calls.put_part(key, multipart_id, number, self.buffer))
        self.buffer = bytearray()

    def _count(self, number: int, etag: str) -> None:
        if self.multipart is not None:
            parts = (*self.multipart.parts, (number, etag))
            self.multipart = replace(self.multipart, parts=parts)

    def put_alone(self) -> str:
        """Send what is left as an object of its own; return its key. Blocks."""
        key = self._new_key()
        self._bucket.calls.put(key, self.buffer)
        self.buffer = bytearray()
        return key

    def abandon(self, *, unrecorded: bool) -> None:
        """Let go of buffer and parts; `unrecorded`: no record names this multipart upload."""
        wasted_bytes = 0
        for _, size_bytes, sending in self._in_flight:
            wasted_bytes += size_bytes
            sending.add_done_callback(self._gave_back)
        at_once = self._held.count - len(self._in_flight)
        self._in_flight.clear()
        for _ in range(at_once):
            self._held.give_back()
        if unrecorded and self.multipart is not None:
            self._bucket.threads.later(self._abort, self.multipart)
            wasted_bytes += len(self.multipart.parts) * self._size_bytes
        self._bucket.metrics.s3_wasted_bytes.inc(wasted_bytes)
        self.multipart, self.buffer = None, bytearray()

    def _gave_back(self, sending: asyncio.Future[str]) -> None:
        self._held.give_back()
        if not sending.cancelled():
            sending.exception()

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
