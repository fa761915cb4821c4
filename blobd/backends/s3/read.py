"""Bytes out of the bucket: segments in a row, the next piece fetched while one is used."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.backends.s3.download import Download
from blobd.digest import Span
from blobd.errors import BackendUnavailable
from blobd.threads import outlast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from blobd.backends.s3.calls import S3Calls
    from blobd.backends.s3.session_log import Segment
    from blobd.threads import Threads

_PIECE_BYTES = 1024 * 1024


class ObjectMissing(Exception):
    """An object that a record names is not there, or is shorter than that says."""


@dataclass(slots=True)
class _Reading:
    """One object being read; `download` is set by the thread that opens it."""

    calls: S3Calls
    key: str
    span: Span
    object_bytes: int
    """The least size that the record gives the object."""
    download: Download | None = None

    def open(self) -> Download:
        self.download = Download.open(self.calls, self.key, self.span.start, self.span.stop)
        if self.download is None:
            raise ObjectMissing(self.key)
        found_bytes = self.download.object_bytes
        if found_bytes is not None and found_bytes < self.object_bytes:
            raise ObjectMissing(self.key)
        return self.download


async def read_segments(
    calls: S3Calls, threads: Threads, segments: Sequence[Segment], span: Span
) -> AsyncGenerator[bytes, None]:
    """Yield a span of what segments in a row are. Holds two pieces of 1 MiB at most.

    Raises ObjectMissing, BackendUnavailable. Left early or cancelled, it closes the connection.
    """
    start = 0
    for segment in segments:
        stop = start + segment.size_bytes
        first, last = max(span.start, start), min(span.stop, stop)
        if first < last:
            part = Span(first - start, last - start)
            pieces = _read_object(threads, _Reading(calls, segment.key, part, segment.size_bytes))
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        start = stop


async def _read_object(threads: Threads, reading: _Reading) -> AsyncGenerator[bytes, None]:
    try:
        download = await threads.run(reading.open)
        ahead = threads.start(download.read, _PIECE_BYTES)
        try:
            while piece := await outlast(ahead):
                ahead = threads.start(download.read, _PIECE_BYTES)
                yield piece
        finally:
            ahead.abandon()
            with suppress(BackendUnavailable):  # of a piece that was abandoned
                await outlast(ahead)
    finally:
        if reading.download is not None:
            threads.later(reading.download.close)
