"""From the socket to buffers: the bodies that the pump reads.

TakenBody   large or chunked: the transport is taken over and receives straight into the pump's
            buffers. Between buffers reading is paused, and a waiting body holds one KiB.
StreamBody  small: aiohttp has it already.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11

from blobd.errors import BodyBroken, BodyIdle, BodyMalformed
from blobd.http.chunked import LAST_CHUNK, ChunkDecoder
from blobd.http.connection import connection_of, has_large_body
from blobd.http.errors import ExpectationUnsupported, RequestInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

_ANTECHAMBER_BYTES = 1024
_FILL_S = 0.05
"""A buffer that is not full after this time is handed on as it is."""
SCRATCH_BYTES = 256 * 1024


class TakenBody(asyncio.BufferedProtocol):
    """A body that is read from the transport itself."""

    def __init__(self, request: web.BaseRequest, *, idle_timeout_s: float) -> None:
        """Take the transport over. Raises ConnectionResetError when the client has gone."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection_of(request)
        self._transport = request.transport
        self._idle_timeout_s = idle_timeout_s
        self._decoder: ChunkDecoder | None = None
        self.length_bytes: int | None = None
        if "Transfer-Encoding" in request.headers:
            self._decoder = ChunkDecoder()
        else:
            self.length_bytes = request.content_length or 0
        self._received_bytes = 0
        self._antechamber = bytearray(_ANTECHAMBER_BYTES)
        self._view: memoryview | None = None
        self._filled_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        self._invite: Callable[[], None] | None = None
        if _expects_continue(request):
            self._invite = lambda: self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._spill = self._connection.take_body(self)
        request.content.feed_eof()

    @property
    def ended(self) -> bool:
        if self._decoder is not None:
            return self._decoder.ended
        return self._received_bytes == self.length_bytes

    @property
    def received_bytes(self) -> int:
        """How much of it has come, without what frames its chunks."""
        return self._received_bytes

    @property
    def invited(self) -> bool:
        """Whether the client is sending: it did not wait for 100 Continue, or has received it."""
        return self._invite is None

    async def ready(self) -> bool:
        if self.ended:
            return False
        if not self._spill:
            if self._invite is not None:
                invite, self._invite = self._invite, None
                invite()
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    await self._read()
            except TimeoutError as error:
                raise BodyIdle(self._idle_timeout_s) from error
            if not self._spill:
                raise BodyBroken(self._received_bytes)
        return True

    async def receive(self, view: memoryview) -> Sequence[memoryview]:
        if self.length_bytes is not None:
            view = view[: self.length_bytes - self._received_bytes]
        spilt, self._spill = self._spill[: len(view)], self._spill[len(view) :]
        view[: len(spilt)] = spilt
        self._view, self._filled_bytes = view, len(spilt)
        if self._filled_bytes < len(view) and not self._at_last_chunk() and not self._lost:
            timer = self._loop.call_later(_FILL_S, self._wake)
            try:
                await self._read()
            finally:
                timer.cancel()
                self._view = None
        self._view = None
        raw = view[: self._filled_bytes]
        parts = [raw] if self._decoder is None else await self._decoder.decode(raw)
        self._received_bytes += sum(map(len, parts))
        if not raw and self._lost:
            raise BodyBroken(self._received_bytes)
        return parts if self._filled_bytes else []

    async def discard(self, *, limit_bytes: int, limit_s: float) -> None:
        """Read on and throw away until the body ends or a limit is reached; raise nothing."""
        scratch = memoryview(bytearray(SCRATCH_BYTES))
        start_bytes = self._received_bytes
        with suppress(TimeoutError, BodyBroken, BodyIdle):
            async with asyncio.timeout(limit_s):
                while self._received_bytes - start_bytes < limit_bytes and await self.ready():
                    await self.discard_some(scratch)

    async def discard_some(self, scratch: memoryview) -> None:
        """Read on once and throw away, once `ready` has said that there is more.

        Where the framing of chunks cannot be read the body has no end from then on. Raises
        BodyBroken.
        """
        try:
            await self.receive(scratch)
        except BodyMalformed:
            self._decoder = None

    async def _read(self) -> None:
        """Let the transport read until something wakes this body."""
        if self._lost:
            return
        self._waiter = self._loop.create_future()
        self._resume()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._pause()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if self._view is not None:
            return self._view[self._filled_bytes :]
        return memoryview(self._antechamber)

    def buffer_updated(self, nbytes: int) -> None:
        if self._view is None:
            self._spill += bytes(self._antechamber[:nbytes])
            self._pause()
            self._wake()
            return
        self._filled_bytes += nbytes
        if self._filled_bytes == len(self._view) or self._at_last_chunk():
            self._pause()
            self._wake()

    def eof_received(self) -> bool:
        self._lost = True
        self._wake()
        return True  # the answer can still be written

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._wake()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _at_last_chunk(self) -> bool:
        """Whether the buffer may end with the body: cheap, and harmless where it is not so."""
        if self._decoder is None or self._view is None:
            return False
        filled = self._view[: self._filled_bytes]
        return bytes(filled[-len(LAST_CHUNK) :]) == LAST_CHUNK

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class StreamBody:
    """A small body, read through aiohttp."""

    def __init__(self, request: web.BaseRequest, *, idle_timeout_s: float) -> None:
        self._request = request
        self._idle_timeout_s = idle_timeout_s
        self.length_bytes: int | None = request.content_length or 0
        self._received_bytes = 0
        self._spill = b""
        self._invite = _expects_continue(request)

    @property
    def ended(self) -> bool:
        return self._received_bytes == self.length_bytes

    @property
    def invited(self) -> bool:
        """Whether the client is sending: it did not wait for 100 Continue, or has received it."""
        return not self._invite

    async def ready(self) -> bool:
        if self.ended:
            return False
        if self._spill:
            return True
        transport = self._request.transport
        if self._invite and transport is not None:
            self._invite = False
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                self._spill = await self._request.content.readany()
        except TimeoutError as error:
            raise BodyIdle(self._idle_timeout_s) from error
        except OSError as error:
            raise BodyBroken(self._received_bytes) from error
        if not self._spill:
            raise BodyBroken(self._received_bytes)
        return True

    async def receive(self, view: memoryview) -> Sequence[memoryview]:
        taken, self._spill = self._spill[: len(view)], self._spill[len(view) :]
        view[: len(taken)] = taken
        self._received_bytes += len(taken)
        return [view[: len(taken)]]

    async def discard(self, *, limit_bytes: int, limit_s: float) -> None:  # noqa: ARG002
        """Read what is left; small bodies need no limit but time."""
        with suppress(TimeoutError, BodyBroken, BodyIdle):
            async with asyncio.timeout(limit_s):
                while await self.ready():
                    self._received_bytes += len(self._spill)
                    self._spill = b""


WireBody = TakenBody | StreamBody


def open_body(request: web.BaseRequest, *, idle_timeout_s: float) -> WireBody:
    """Return the request's body for reading; call it once a request. Raises as `check_body`."""
    check_body(request)
    if has_large_body(request):
        return TakenBody(request, idle_timeout_s=idle_timeout_s)
    return StreamBody(request, idle_timeout_s=idle_timeout_s)


def check_body(request: web.BaseRequest) -> None:
    """Refuse a head that leaves open how the body is framed, or whether there is one.

    Raises RequestInvalid for a coding other than chunked, and for any in HTTP/1.0, whose framing
    RFC 9112 section 6.1 calls faulty; ExpectationUnsupported.
    """
    codings = request.headers.getall("Transfer-Encoding", ())
    if codings and request.version < HttpVersion11:
        raise RequestInvalid("HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
    if codings and ", ".join(codings).strip().lower() != "chunked":
        raise RequestInvalid("this Transfer-Encoding is not understood; use chunked")
    expectations = [each for each in _expectations(request) if each != "100-continue"]
    if expectations and request.version >= HttpVersion11:
        raise ExpectationUnsupported


def _expects_continue(request: web.BaseRequest) -> bool:
    """Whether the client waits for 100 Continue; HTTP/1.0 has no interim answers."""
    return request.version >= HttpVersion11 and "100-continue" in _expectations(request)


def _expectations(request: web.BaseRequest) -> list[str]:
    """Return the members of all Expect headers (RFC 9110 section 10.1.1)."""
    lines = request.headers.getall("Expect", ())
    members = (member.strip().lower() for line in lines for member in line.split(","))
    return [member for member in members if member]
