"""HTTP/1.1 as far as passing it on takes (RFC 9112): heads, and where bodies end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping

_PIECE_BYTES = 64 * 1024
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or an answer, and its bytes as they came."""

    raw: bytes
    words: tuple[str, str, str]
    """Of the first line: method, target, version; or version, status, reason."""
    fields: Mapping[str, str]
    """By lower-case name; the last one of a name."""

    @property
    def status(self) -> int:
        return int(self.words[1])

    @property
    def is_interim(self) -> bool:
        return 100 <= self.status < 200

    @property
    def ends_connection(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next head; None where the connection ends, or speaks something else (TLS)."""
    first = await reader.read(1)
    if not first.isalpha():
        return None
    raw = first + await reader.readuntil(_END)
    first_line, *lines = raw[: -len(_END)].decode("latin-1").split("\r\n")
    one, two, *three = first_line.split(" ", 2)
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return Head(raw, (one, two, *three) if three else (one, two, ""), fields)  # type: ignore[arg-type]


async def read_body(
    reader: asyncio.StreamReader, head: Head, *, until_end: bool
) -> AsyncIterator[bytes]:
    """Yield a body in pieces, its framing included.

    Without a length it is empty, or goes on to the end of the connection.
    Raises EOFError when it breaks off.
    """
    if "chunked" in head.fields.get("transfer-encoding", "").lower():
        async for piece in _chunks(reader):
            yield piece
    elif (length := head.fields.get("content-length")) is not None:
        async for piece in _exactly(reader, int(length)):
            yield piece
    elif until_end:
        while piece := await reader.read(_PIECE_BYTES):
            yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    left_bytes = -1
    while left_bytes != 0:
        line = await reader.readuntil(b"\r\n")
        yield line
        left_bytes = int(line.split(b";")[0], 16)
        if left_bytes:
            async for piece in _exactly(reader, left_bytes + 2):
                yield piece
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line


async def _exactly(reader: asyncio.StreamReader, length_bytes: int) -> AsyncIterator[bytes]:
    while length_bytes:
        piece = await reader.read(min(length_bytes, _PIECE_BYTES))
        if not piece:
            raise EOFError("a body broke off")
        length_bytes -= len(piece)
        yield piece
