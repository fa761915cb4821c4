"""A body of several pieces, as botocore reads it."""

from __future__ import annotations

import io
from mmap import mmap

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum

from blobd.backends.s3.body import Body

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


def test_a_checksum_goes_behind_it() -> None:
    """Over TLS, with `s3.checksum = when_supported`, botocore frames it and adds a trailer."""
    body = Body([HEAD, TAIL])
    framed = AwsChunkedWrapper(body, checksum_cls=Crc32Checksum, checksum_name="crc32").read()
    content, rest = b"", framed
    while size_bytes := int(rest.partition(b"\r\n")[0], 16):
        rest = rest.partition(b"\r\n")[2]
        content += rest[:size_bytes]
        rest = rest[size_bytes + 2 :]
    assert content == HEAD + TAIL
    checksum = Crc32Checksum()
    checksum.update(HEAD + TAIL)
    assert f"crc32:{checksum.b64digest()}".encode() in rest
