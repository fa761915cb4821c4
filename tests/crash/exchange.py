"""One HTTP request on a connection of its own, sent as slowly and left as rudely as wanted.

Docker opens a connection for every request too. A plain socket, because what a client library
makes of a reset is not what the kernel still has to say: an answer sent before it can be read.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE_S = 60.0
_READ_BYTES = 256 * 1024


class Lost(Exception):
    """The connection ended before an answer was whole."""

    def __init__(self, received: bytes = b"") -> None:
        super().__init__("the connection ended before an answer was whole")
        self.received = received
        """What came of the answer's body."""
        self.excused = False
        """Whether the daemon is known to have been killed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; its headers by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def offset(self) -> int:
        """The upload's offset that its Range header tells."""
        text = self.headers.get("range")
        if text is None:
            assert self.status in (204, 416), self.headers
            return 0
        first, _, last = text.partition("-")
        assert first == "0", self.headers
        return int(last) + 1

    @property
    def code(self) -> str:
        """The code of the first error in the documented JSON."""
        return str(json.loads(self.body)["errors"][0]["code"])

    def __str__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


class Exchange:
    """A connection for one request, as an async context manager. All waiting ends in a minute."""

    def __init__(self, address: str, *, receive_bytes: int | None = None) -> None:
        """Prepare to connect to host:port; `receive_bytes` is how much may lie unread here."""
        host, _, port = address.rpartition(":")
        self._where = (host, int(port))
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = bytearray()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._loop.sock_connect(self._socket, self._where)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, ConnectionError):
                raise Lost from error
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    def vanish(self) -> None:
        """Hang up with a reset, as a client that is killed does."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def head(
        self, method: str, target: str, headers: Mapping[str, str | int] | None = None
    ) -> None:
        """Send a head."""
        fields = {"Host": "blobd"} | dict(headers or {})
        lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {fields[key]}" for key in fields)]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes | memoryview) -> bool:
        """Send bytes; return whether the other side still takes them."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._loop.sock_sendall(self._socket, data)
        except ConnectionError:
            return False
        return True

    async def chunk(self, data: bytes | memoryview) -> bool:
        """Send one chunk of a chunked body; an empty one ends it."""
        return await self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    async def invited(self) -> None:
        """Wait for `100 Continue`: from then on this request is its upload's writer."""
        head = await self._until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 100 "), head

    async def peek(self) -> None:
        """Wait until some of the answer is there. Raises Lost."""
        if not await self._read():
            raise Lost

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Read the answer. Raises Lost."""
        head = await self._until(b"\r\n\r\n")
        status_line, *lines = head[:-4].decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(status_line.split()[1])
        if bodiless or status == 204:
            return Answer(status, headers, b"")
        length = int(headers["content-length"])
        while len(self._unread) < length:
            if not await self._read():
                raise Lost(bytes(self._unread))
        assert len(self._unread) == length, "more came than was announced"
        return Answer(status, headers, bytes(self._unread))

    async def _until(self, end: bytes) -> bytes:
        while (found := self._unread.find(end)) < 0:
            if not await self._read():
                raise Lost
        head = bytes(self._unread[: found + len(end)])
        del self._unread[: found + len(end)]
        return head

    async def _read(self) -> bool:
        """Take in what is there; False at the end of the connection."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                data = await self._loop.sock_recv(self._socket, _READ_BYTES)
        except ConnectionError:
            return False
        self._unread += data
        return bool(data)


async def ask(
    address: str,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str | int] | None = None,
    body: bytes | memoryview | None = None,
) -> Answer:
    """Make a whole request on a connection of its own. Raises Lost."""
    length: dict[str, str | int] = {} if body is None else {"Content-Length": len(body)}
    async with Exchange(address) as exchange:
        await exchange.head(method, target, length | dict(headers or {}))
        if body:
            await exchange.send(body)
        return await exchange.answer(bodiless=method == "HEAD")
