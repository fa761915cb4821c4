"""A body of several pieces, as botocore reads it."""

from __future__ import annotations

import io
from mmap import mmap

import pytest

from blobd.backends.s3_body import Body

HEAD, TAIL = b"head" * 1000, bytes(range(256)) * 3000


def read_all(body: Body) -> bytes:
    """Read as http.client does: 16 KiB are asked for, and nothing is the end."""
    return b"".join(iter(lambda: body.read(16384), b""))


def test_pieces_come_in_a_row_and_again_from_the_start() -> None:
    """A request that is tried again sends the same bytes."""
    memory = mmap(-1, len(TAIL))
    memory[:] = TAIL
    body = Body([HEAD, b"", memoryview(memory)])
    assert len(body) == len(HEAD) + len(TAIL)
    assert read_all(body) == HEAD + TAIL
    assert body.tell() == len(body)
    body.seek(0)
    assert read_all(body) == HEAD + TAIL
    body.seek(-5, io.SEEK_END)
    assert read_all(body) == TAIL[-5:]


def test_an_empty_body_has_no_length() -> None:
    """botocore asks whether there is a body by its truth."""
    assert not Body([])
    assert not Body([b""])
    assert read_all(Body([b""])) == b""


@pytest.mark.parametrize(
    "other", [HEAD, HEAD + TAIL[:-1], HEAD + TAIL + b"x", HEAD + TAIL[:-1] + b"x"]
)
def test_equal_is_what_has_the_same_bytes(other: bytes) -> None:
    """What lies there after an answer was lost is compared with what was sent."""
    body = Body([HEAD, TAIL])
    assert body.equals(HEAD + TAIL)
    assert not body.equals(other)
