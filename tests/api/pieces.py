"""Requests for many ranges, as clients that pull in parts make them, and what must come back."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.http.talk import Answer

RANGES_MAX = 1024
"""Of one request of containers/storage."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A Range header, and the first and last byte of each range that is to be answered."""

    header: str
    spans: tuple[tuple[int, int], ...]

    @property
    def blob_bytes(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)


def exactly(spans: Sequence[tuple[int, int]]) -> Asked:
    """Ask for spans, each end in ten digits."""
    specs = (f"{first:010d}-{last:010d}" for first, last in spans)
    return Asked("bytes=" + ",".join(specs), tuple(spans))


def any_order(size_bytes: int, *, piece_bytes: int, seed: int) -> Asked:
    """Ask for 1,024 ranges in random order: apart, adjacent, overlapping and equal ones."""
    chance = random.Random(seed)
    spans: list[tuple[int, int]] = []
    while len(spans) < RANGES_MAX:
        first = chance.randrange(size_bytes - 4 * piece_bytes)
        last = first + chance.randrange(piece_bytes)
        spans += [(first, last), (last + 1, last + piece_bytes), (last - 1, last + 2)]
        spans.append((first, last))
    del spans[RANGES_MAX:]
    chance.shuffle(spans)
    return exactly([(max(first, 0), last) for first, last in spans])


def bytes_of(answer: Answer, data: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """Return the whole body that an answer with these parts must have, by its own boundary."""
    match = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", answer.headers["Content-Type"])
    assert match is not None
    parts = [
        f"\r\n--{match[1]}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Range: bytes {first}-{last}/{len(data)}\r\n\r\n".encode()
        + data[first : last + 1]
        for first, last in spans
    ]
    return b"".join([*parts, f"\r\n--{match[1]}--\r\n".encode()])


def assert_answered(answer: Answer, data: bytes, asked: Asked) -> None:
    """The answer has all parts, in the order asked for, and nothing else."""
    assert answer.status == 206
    assert "Content-Range" not in answer.headers
    assert answer.body == bytes_of(answer, data, asked.spans)
