"""One HTTP/1.1 connection: aiohttp's protocol, with heads kept apart from large bodies.

aiohttp's parser sees heads and small bodies. The body of a request that announces more than
SMALL_BODY_BYTES, or chunked coding, never reaches it: reading is paused at the end of the head,
and the request's handler takes the transport over (`bodies.py`). Such a connection closes
after its answer.

On the way, what a plain port must survive. A TLS ClientHello is answered 400 at its first byte:
docker, podman and skopeo knock with one before every command, and containerd (Docker 29, nerdctl,
kubelet) goes on in plain HTTP only after an answer that begins with `HTTP/`. A head that does not
come is not waited for. A client that is refused this way can read the answer: the connection
lingers, half closed, because closing a socket that has unread bytes sends a reset, which may take
the answer with it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import ERROR, RequestHandler

from blobd.http.answers import error_response
from blobd.http.errors import (
    HeadMalformed,
    HeadTooLarge,
    HeadTooSlow,
    TargetTooLong,
    TlsOnPlainPort,
    TooManyConnections,
)
from blobd.http.headers import complete

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from blobd.errors import BlobdError
    from blobd.http.connections import Connections

SMALL_BODY_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_REQUEST_LINE_BYTES = 16 * 1024
_MAX_FIELDS = 128
_TLS_HANDSHAKE = 0x16
_KEEP_ALIVE_S = 75.0
_LINGER_S = 5.0
_REFUSED_HEAD_S = 2.0
"""How long a connection beyond the limit may take to send the request that is refused."""
_LINGER_BYTES = 4 * 1024 * 1024
_UNREADABLE = b"\x00\r\n\r\n"
"""Makes aiohttp's parser queue an error, which is answered when it is its turn."""

_REASONS = frozenset(
    {
        "Content-Length can't be present with Transfer-Encoding",
        "Content-Length overflow",
        "Duplicate Content-Length",
        "Empty Content-Length",
        "Expected HTTP/, RTSP/ or ICE/",
        "Invalid HTTP version",
        "Invalid `Transfer-Encoding` header value",
        "Invalid char in url path",
        "Invalid char in url query",
        "Invalid character in Content-Length",
        "Invalid characters in url",
        "Invalid header token",
        "Invalid header value char",
        "Invalid method encountered",
        "Missing 'Host' header in request.",
        "Missing expected CR after header value",
        "Request has invalid `Transfer-Encoding`",
        "Transfer-Encoding can't be present with Content-Length",
        "Unexpected space after start line",
    }
)
"""What aiohttp's parser says of a malformed head without quoting it."""
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{1,20})[ \t]*\r\n")


class Connection(RequestHandler):
    """aiohttp's request handler, fed whole heads."""

    __slots__ = (
        "_answered_count",
        "_connections",
        "_half_closed",
        "_head",
        "_head_timeout_s",
        "_head_timer",
        "_is_one_too_many",
        "_linger_bytes",
        "_lingering",
        "_passing_bytes",
        "_payload",
        "_refusal",
        "_refusal_answer",
        "_reserve",
        "_spill",
        "_was_busy",
        "_withholding",
    )

    def __init__(
        self,
        manager: Server,
        *,
        head_timeout_s: float,
        connections: Connections | None,
        reserve: int,
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._answered_count = 0
        self._connections = connections
        self._is_one_too_many = False
        self._reserve = reserve
        self._half_closed = False
        self._head = b""
        self._head_timeout_s = head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_bytes = _LINGER_BYTES
        self._lingering: asyncio.Future[None] | None = None
        self._passing_bytes = 0
        self._payload: StreamReader | None = None
        """The body of the request that is being answered."""
        self._refusal: BlobdError | None = None
        """Why nothing more is read from this client; what it still sends is thrown away."""
        self._refusal_answer: web.StreamResponse | None = None
        self._spill = b""
        self._was_busy = False
        self._withholding = False
        """Whether the last head's body is kept from aiohttp, until it is taken over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._connections is not None:
            admitted = self._connections.opened(self, reserve=self._reserve)
            if admitted is None:
                self.force_close()
                return
            self._is_one_too_many = not admitted
            if self._is_one_too_many:
                self._head_timeout_s = min(self._head_timeout_s, _REFUSED_HEAD_S)
            self._connections.idle(self)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end_timer()
        self._end_lingering()
        if self._connections is not None:
            self._connections.closed(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what has been asked before closing: many clients half-close after a request.

        A client that is gone altogether looks the same; it is noticed when it is written to.
        """
        self._end_lingering()
        if self._refusal_answer is not None:
            return False
        if self._answered_count == self._request_count:
            return False
        self._half_closed = True
        self._end_timer()
        if self._passing_bytes:
            self._break_body()
        return True

    def data_received(self, data: bytes) -> None:
        if not data:
            super().data_received(data)
        elif self._connections is not None:
            self._connections.busy(self)
            if self._is_one_too_many and self._refusal is None:
                # Not before its first byte: some clients take an answer that comes before they
                # have asked for a broken connection.
                self._refuse(TooManyConnections(self._connections.limit))
        while data:
            if self._refusal is not None or self._refusal_answer is not None:
                self._throw_away(len(data))
                return
            if self._withholding:
                self._spill += data
                self._pause_reading()  # aiohttp resumes when pipelined requests are worked off
                return
            if self._passing_bytes:
                passing, data = data[: self._passing_bytes], data[self._passing_bytes :]
                self._passing_bytes -= len(passing)
                super().data_received(passing)
            else:
                data = self._take_head(data)

    def take_body(self, receiver: asyncio.BufferedProtocol) -> bytes:
        """Hand the transport over, reading paused; return the body bytes that came already."""
        if self.transport is None:
            raise ConnectionResetError("the client has gone")
        spill, self._spill = self._spill, b""
        self._withholding = False
        self.transport.set_protocol(receiver)
        return spill

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp itself refuses (an unreadable head) in the documented JSON.

        aiohttp's message quotes the head, where credentials are, so it goes nowhere.
        """
        if status == 500:
            self.log_exception("a request failed without an answer", exc_info=exc)
            response = error_response(exc or RuntimeError())
            complete(response)
            response.force_close()
            return response
        response = error_response(self._refusal or HeadMalformed(_reason(message)))
        complete(response)
        self.close_after(response)
        return response

    def close_after(self, response: web.StreamResponse) -> None:
        """Let an answer be the last; the client can read it whatever it still sends."""
        response.force_close()
        self._refusal_answer = response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; after the last of a connection, see that the client can read it."""
        is_last = self._answered_count + 1 == self._request_count
        if self._half_closed and is_last:
            resp.force_close()
        try:
            sent = await super().finish_response(request, resp, start_time)
        finally:
            self._answered_count += 1
        if self._half_closed and self._answered_count == self._request_count:
            resp.force_close()
        if resp is self._refusal_answer:
            await self._linger()
        elif self._connections is not None and self._waits_for_a_head():
            self._connections.idle(self)
        return sent

    def _waits_for_a_head(self) -> bool:
        """Whether all that was asked is answered, and nothing of another request is here."""
        return (
            self._answered_count == self._request_count
            and not self._head
            and not self._withholding
            and not self._spill
            and not self._passing_bytes
        )

    def _refuse(self, error: BlobdError) -> None:
        """Answer what is sent here with an error, after the answers to all requests before it."""
        self._end_timer()
        self._refusal = error
        super().data_received(_UNREADABLE)

    async def _linger(self) -> None:
        """Half-close, and throw away what still comes, until the client closes or a bound."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._half_closed or self._linger_bytes <= 0:
            return
        transport.write_eof()
        transport.resume_reading()
        self._lingering = self._loop.create_future()
        await asyncio.wait([self._lingering], timeout=_LINGER_S)

    def _end_lingering(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    def _throw_away(self, size_bytes: int) -> None:
        self._linger_bytes -= size_bytes
        if self._linger_bytes <= 0:
            self._pause_reading()
            self._end_lingering()

    def _break_body(self) -> None:
        """Make the reader of a small body that is still arriving fail: it will not end."""
        payload = self._messages[-1][1] if self._messages else self._payload
        if payload is not None:
            payload.feed_eof()  # after the bytes that came, which are kept

    def _take_head(self, data: bytes) -> bytes:
        """Add to the head; when it is whole, pass it on. Return what follows it."""
        if not self._head:
            if data[0] == _TLS_HANDSHAKE and not self._request_count:
                self._refuse(TlsOnPlainPort())
                return b""
            data = data.lstrip(b"\r\n")
            self._expect_head()
        searched = max(len(self._head) - 3, 0)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched)
        if end < 0 and len(self._head) <= _MAX_HEAD_BYTES:
            return b""
        self._end_timer()
        end = len(self._head) if end < 0 else end + 4
        head, rest, self._head = self._head[:end], self._head[end:], b""
        error = _over_a_limit(head)
        if error is not None:
            self._refuse(error)
            return b""
        length_bytes = _announced_bytes(head)
        if length_bytes is None or length_bytes > SMALL_BODY_BYTES:
            self._withholding = True
            self._spill = rest
            self._pause_reading()
            rest = b""
        else:
            self._passing_bytes = length_bytes
        super().data_received(head)
        return rest

    def _pause_reading(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(self._head_timeout_s, self._head_is_late)

    def _end_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        was_busy, self._was_busy = self._was_busy, self._request_in_progress
        if was_busy or self._request_in_progress:
            # The time for this head counts from when the request before it was answered.
            self._expect_head()
            return
        if self._head:
            self._refuse(HeadTooSlow(self._head_timeout_s))
        else:
            self.force_close()


class Server(web.Server):
    """aiohttp's low-level server, making `Connection`s."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        head_timeout_s: float,
        connections: Connections | None = None,
        reserve: int = 0,
    ) -> None:
        """`connections` counts and bounds them; None: nobody does.

        So many as the `reserve` are served beyond that bound.
        """
        self._reserve = reserve
        super().__init__(handler, request_factory=self._request, access_log=None)
        self._bounded_by = connections
        self._head_timeout_s = head_timeout_s

    def __call__(self) -> Connection:
        return Connection(
            self,
            head_timeout_s=self._head_timeout_s,
            connections=self._bounded_by,
            reserve=self._reserve,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=0,
            auto_decompress=False,
            max_line_size=_MAX_REQUEST_LINE_BYTES,
            max_field_size=_MAX_HEAD_BYTES,
            max_headers=_MAX_FIELDS,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        """Return aiohttp's request; what could not be read is answered in HTTP/1.1, not in 1.0."""
        if message is ERROR:
            message = message._replace(version=HttpVersion11)
        if isinstance(protocol, Connection):
            protocol._payload = payload
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)


def connection_of(request: web.BaseRequest) -> Connection:
    """Return the connection a request came on."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        raise TypeError(f"{connection!r} is not one of this server's connections")
    return connection


def has_large_body(request: web.BaseRequest) -> bool:
    """Whether the request's body is kept from aiohttp, to be taken over by its handler."""
    headers = request.headers
    return "Transfer-Encoding" in headers or (request.content_length or 0) > SMALL_BODY_BYTES


def _announced_bytes(head: bytes) -> int | None:
    """Return the body's length by its head; None: chunked. aiohttp refuses what is malformed."""
    head = head.lower()
    if b"\r\ntransfer-encoding:" in head:
        return None
    match = _CONTENT_LENGTH.search(head)
    return 0 if match is None else int(match[1])


def _over_a_limit(head: bytes) -> BlobdError | None:
    """Return why a head, or the start of one that has no end, is refused for its size."""
    line_bytes = head.find(b"\r\n", 0, _MAX_REQUEST_LINE_BYTES + 2)
    if line_bytes < 0 and len(head) > _MAX_REQUEST_LINE_BYTES:
        return TargetTooLong(_MAX_REQUEST_LINE_BYTES)
    if len(head) > _MAX_HEAD_BYTES:
        return HeadTooLarge(f"{_MAX_HEAD_BYTES} bytes")
    if head.count(b"\r\n") - 2 > _MAX_FIELDS:
        return HeadTooLarge(f"{_MAX_FIELDS} header fields")
    return None


def _reason(message: str | None) -> str:
    """Return what aiohttp says of a malformed head, without a byte of the head."""
    lines = (line.strip().removesuffix(":") for line in (message or "").splitlines())
    return next((line for line in lines if line in _REASONS), "")
