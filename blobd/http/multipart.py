"""Several ranges in one answer: multipart/byteranges (RFC 9110 section 14.6), in few steps.

Clients that pull in parts (containers/storage for zstd:chunked layers) ask for up to 1,024 small
pieces at once, so the cost of a piece matters more than the cost of a byte. Pieces are sent in the
order in which they were asked for, and are read in as few steps as that allows:

    files     small pieces that follow each other are read on one thread hand-over and written by
              one call; a large piece leaves by sendfile.
    streams   pieces that ascend with small gaps are one read, and the gaps are skipped; pieces in
              another order are collected up to a bound, and read in the order of the blob.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blobd.digest import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blobd.backends.base import Buffer

LARGE_PIECE_BYTES = 256 * 1024
"""From here on sendfile costs less than reading and writing."""
BATCH_BYTES = 256 * 1024
"""Of small pieces of a file that are read and written at once."""
COLLECTED_BYTES = 2 * 1024 * 1024
"""Of pieces of a stream that are held because they are not in the order of the blob."""
SKIPPED_GAP_BYTES = 1024 * 1024
"""A gap up to this size is read and dropped: 1 ms of CPU, where another request to an S3 engine
costs 2.5 ms and a round trip (`bench/README.md`)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One range of the answer and the lines before it."""

    head: bytes
    span: Span


@dataclass(frozen=True, slots=True)
class Envelope:
    """All of an answer but the blob's bytes."""

    content_type: str
    parts: tuple[Part, ...]
    close: bytes

    @classmethod
    def around(cls, spans: Sequence[Span], *, blob_bytes: int) -> Envelope:
        """Return the envelope of an answer with these spans of a blob, under a new boundary."""
        boundary = secrets.token_hex(16)
        start = (
            f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes"
        )
        return cls(
            content_type=f"multipart/byteranges; boundary={boundary}",
            parts=tuple(
                Part(f"{start} {span}/{blob_bytes}\r\n\r\n".encode(), span) for span in spans
            ),
            close=f"\r\n--{boundary}--\r\n".encode(),
        )

    @property
    def length_bytes(self) -> int:
        """The Content-Length of the whole answer."""
        return len(self.close) + sum(len(part.head) + part.span.size_bytes for part in self.parts)


# From files


@dataclass(slots=True)
class FileBatch:
    """Small parts to be written at once, and the large one that follows them, if any."""

    parts: list[Part] = field(default_factory=list)
    large: Part | None = None
    heads_bytes: int = 0
    blob_bytes: int = 0
    """Of the small parts, without their heads."""

    def read(self, fd: int) -> bytearray:
        """Return the small parts with their heads, and the head of the large one. Blocks.

        Raises ConnectionResetError where the file ends before a part does.
        """
        tail = b"" if self.large is None else self.large.head
        data = bytearray(self.heads_bytes + self.blob_bytes + len(tail))
        view = memoryview(data)
        position = 0
        for part in self.parts:
            position = _put(view, position, part.head)
            stop = position + part.span.size_bytes
            offset = part.span.start
            while position < stop:
                count = os.preadv(fd, [view[position:stop]], offset)
                if count == 0:
                    raise ConnectionResetError("the file ended before its span did")
                position += count
                offset += count
        _put(view, position, tail)
        return data


def file_batches(parts: Sequence[Part]) -> Iterator[FileBatch]:
    """Yield the parts in order, small ones together."""
    batch = FileBatch()
    for part in parts:
        if part.span.size_bytes >= LARGE_PIECE_BYTES:
            batch.large = part
            yield batch
            batch = FileBatch()
            continue
        batch.parts.append(part)
        batch.heads_bytes += len(part.head)
        batch.blob_bytes += part.span.size_bytes
        if batch.heads_bytes + batch.blob_bytes >= BATCH_BYTES:
            yield batch
            batch = FileBatch()
    if batch.parts:
        yield batch


# From streams


@dataclass(slots=True)
class StreamGroup:
    """Parts that are read together: on the way as one ascending run, or collected first."""

    parts: list[Part] = field(default_factory=list)
    ascends: bool = True
    """Whether each part lies behind the last one, with gaps small enough to be skipped."""
    blob_bytes: int = 0
    """Of the parts, without their heads."""

    def takes(self, part: Part) -> bool:
        """Whether a part can be added: to the run, or while little enough is collected."""
        return (
            not self.parts
            or self._continues(part)
            or self.blob_bytes + part.span.size_bytes <= COLLECTED_BYTES
        )

    def add(self, part: Part) -> None:
        self.ascends = not self.parts or self._continues(part)
        self.parts.append(part)
        self.blob_bytes += part.span.size_bytes

    def _continues(self, part: Part) -> bool:
        gap_bytes = part.span.start - self.parts[-1].span.stop
        return self.ascends and 0 <= gap_bytes <= SKIPPED_GAP_BYTES


def stream_groups(parts: Sequence[Part]) -> Iterator[StreamGroup]:
    """Yield the parts in order, as few groups."""
    group = StreamGroup()
    for part in parts:
        if not group.takes(part):
            yield group
            group = StreamGroup()
        group.add(part)
    if group.parts:
        yield group


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a span go to in memory."""

    span: Span
    view: memoryview


@dataclass(frozen=True, slots=True)
class Fetch:
    """One read of a stream, and where its bytes belong; what belongs nowhere is dropped."""

    span: Span
    places: tuple[Place, ...]
    """Ascending by where they start; they may overlap."""


class Collection:
    """The parts of a group that does not ascend, in memory, to be filled in the blob's order."""

    def __init__(self, group: StreamGroup) -> None:
        self.data = bytearray(group.blob_bytes + sum(len(part.head) for part in group.parts))
        """The parts with their heads in the order asked for, once all fetches are done."""
        view = memoryview(self.data)
        position = 0
        places = []
        for part in group.parts:
            position = _put(view, position, part.head)
            stop = position + part.span.size_bytes
            places.append(Place(part.span, view[position:stop]))
            position = stop
        self.fetches = tuple(_fetches(sorted(places, key=lambda place: place.span.start)))


def _fetches(places: list[Place]) -> Iterator[Fetch]:
    """Yield reads that fill all places, near ones by one read."""
    start = 0
    span = places[0].span
    for number, place in enumerate(places):
        if place.span.start - span.stop > SKIPPED_GAP_BYTES:
            yield Fetch(span, tuple(places[start:number]))
            start, span = number, place.span
        span = Span(span.start, max(span.stop, place.span.stop))
    yield Fetch(span, tuple(places[start:]))


class Filling:
    """Fills the places of one fetch with its bytes as they come."""

    def __init__(self, fetch: Fetch) -> None:
        self._waiting = list(reversed(fetch.places))
        self._open: list[Place] = []
        self._position = fetch.span.start

    def add(self, piece: Buffer) -> None:
        """Take the next bytes of the fetch's span."""
        start, stop = self._position, self._position + len(piece)
        while self._waiting and self._waiting[-1].span.start < stop:
            self._open.append(self._waiting.pop())
        for place in self._open:
            first, last = max(place.span.start, start), min(place.span.stop, stop)
            place.view[first - place.span.start : last - place.span.start] = piece[
                first - start : last - start
            ]
        self._open = [place for place in self._open if place.span.stop > stop]
        self._position = stop


class Run:
    """Cuts the bytes of an ascending group, as they come, into its parts with their heads."""

    def __init__(self, group: StreamGroup) -> None:
        parts = group.parts
        self.span = Span(parts[0].span.start, parts[-1].span.stop)
        """What is to be read, gaps included."""
        self._waiting = list(reversed(parts))
        self._position = self.span.start
        self.cut_bytes = 0
        """Of the blob, without heads, that have been yielded so far."""

    def cut(self, piece: Buffer) -> Iterator[Buffer]:
        """Take the next bytes of the span; yield what of the answer they are, in order."""
        start, stop = self._position, self._position + len(piece)
        while self._waiting and self._waiting[-1].span.start < stop:
            part = self._waiting[-1]
            if part.span.start >= start:
                yield part.head
            data = piece[max(part.span.start - start, 0) : part.span.stop - start]
            self.cut_bytes += len(data)
            yield data
            if part.span.stop > stop:
                break
            self._waiting.pop()
        self._position = stop


def _put(view: memoryview, position: int, data: bytes) -> int:
    """Copy `data` to a position; return the position after it."""
    stop = position + len(data)
    view[position:stop] = data
    return stop
