"""The chunked coding of a body (RFC 9112 section 7.1), decoded in the buffer it arrived in."""

from __future__ import annotations

import asyncio
import re

from blobd.errors import BodyMalformed

_NEXT_SIZE = re.compile(rb"\r\n(0*[1-9a-fA-F][0-9a-fA-F]{0,14})\r\n")
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?")
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024
_PEEK_BYTES = 24
_JOIN_BELOW_BYTES = 4096
_LINES_PER_TURN = 1024
LAST_CHUNK = b"0\r\n\r\n"


class ChunkDecoder:
    """Separates body bytes from framing, over any number of buffers.

    Large chunks stay where they are; small ones are moved together, so that a client that sends
    single bytes makes as few parts as one that does not, and costs the loop no long turn.
    """

    def __init__(self) -> None:
        self.ended = False
        """Whether the last chunk and its trailers have been read."""
        self._left_bytes = 0
        self._line = b""
        self._after_data = False
        self._in_trailers = False
        self._trailer_bytes = 0

    async def decode(self, raw: memoryview) -> list[memoryview]:
        """Return the body bytes of `raw`, as parts of it. Raises BodyMalformed.

        Bytes after the end of the body are ignored.
        """
        parts: list[memoryview] = []
        start = stop = 0  # the part being built, in offsets of `raw`
        position = 0
        lines = 0
        while position < len(raw) and not self.ended:
            if self._left_bytes:
                size_bytes = min(self._left_bytes, len(raw) - position)
                if stop > start and size_bytes < _JOIN_BELOW_BYTES:
                    raw[stop : stop + size_bytes] = raw[position : position + size_bytes]
                    stop += size_bytes
                else:
                    if stop > start:
                        parts.append(raw[start:stop])
                    start, stop = position, position + size_bytes
                position += size_bytes
                self._left_bytes -= size_bytes
                self._after_data = self._left_bytes == 0
                continue
            position += self._next_size(raw, position) or self._read_line(raw[position:])
            lines += 1
            if lines % _LINES_PER_TURN == 0:
                await asyncio.sleep(0)
        if stop > start:
            parts.append(raw[start:stop])
        return parts

    def _next_size(self, raw: memoryview, position: int) -> int:
        """Take in the end of a chunk and the next one's size in one step; return their bytes.

        This is what all framing of a large body looks like, but for the few lines that a buffer
        cuts in two; 0 where it does not.
        """
        if not self._after_data or self._line:
            return 0
        match = _NEXT_SIZE.match(raw, position, position + _PEEK_BYTES)
        if match is None:
            return 0
        self._left_bytes = int(match[1], 16)
        self._after_data = False
        return match.end() - position

    def _read_line(self, raw: memoryview) -> int:
        """Take in a line of framing, or the part of it that is there; return its bytes."""
        window = bytes(raw[:_PEEK_BYTES])
        end = window.find(b"\n")
        if end < 0:
            window = bytes(raw[:_MAX_LINE_BYTES])
            end = window.find(b"\n")
        if end < 0:
            self._line += window
            if len(self._line) > _MAX_LINE_BYTES:
                raise BodyMalformed("a line of the body's chunked coding is too long")
            return len(window)
        line = self._line + window[: end + 1]
        self._line = b""
        if not line.endswith(b"\r\n"):
            raise BodyMalformed("a line of the body's chunked coding does not end in CR LF")
        self._understand(line[:-2])
        return end + 1

    def _understand(self, line: bytes) -> None:
        if self._in_trailers:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise BodyMalformed("the trailers of the body are too long")
            self.ended = not line
        elif self._after_data:
            if line:
                raise BodyMalformed("a chunk of the body is longer than its size line says")
            self._after_data = False
        else:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise BodyMalformed("a chunk of the body has no readable size line")
            self._left_bytes = int(match[1], 16)
            self._in_trailers = self._left_bytes == 0
