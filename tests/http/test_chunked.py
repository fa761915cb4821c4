"""The chunked coding, decoded in the buffers it arrives in (RFC 9112 section 7.1)."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blobd.errors import BodyMalformed
from blobd.http.chunked import ChunkDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence


def coded(chunks: Sequence[bytes], *, sizes: str = "x", extension: bytes = b"") -> bytes:
    """Return a body in these chunks; `sizes` is how a length is printed."""
    framed = [
        b"%b%b\r\n%b\r\n" % (format(len(chunk), sizes).encode(), extension, chunk)
        for chunk in chunks
        if chunk
    ]
    return b"".join([*framed, b"0\r\n\r\n"])


async def decode(pieces: Sequence[bytes], *, decoder: ChunkDecoder | None = None) -> bytes:
    """Feed the pieces as one buffer each; return the body bytes."""
    decoder = decoder or ChunkDecoder()
    whole = b""
    for piece in pieces:
        for part in await decoder.decode(memoryview(bytearray(piece))):
            assert len(part), "a part has bytes"
            whole += part
    return whole


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut data at these places."""
    stops = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:stop] for start, stop in pairwise(stops)]


CHUNKS = st.lists(st.binary(max_size=40) | st.binary(min_size=4000, max_size=5000), max_size=12)
PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)


@given(
    chunks=CHUNKS,
    places=PLACES,
    sizes=st.sampled_from(["x", "X", "08x"]),
    extension=st.sampled_from([b"", b";a=b", b" ; name", b'\t;q="x;y"', b"  "]),
    trailers=st.sampled_from([b"", b"X-Checksum: 1\r\n", b"A: b\r\nC: d\r\n"]),
    after=st.binary(max_size=30),
)
@example([b"a"] * 12, list(range(200)), "x", b"", b"", b"GET / HTTP/1.1\r\n\r\n")
@example([b"\r\n0\r\n\r\n"] * 3, list(range(80)), "x", b"", b"", b"")
async def test_any_chunking_in_any_buffers_is_the_same_body(
    chunks: list[bytes],
    places: list[int],
    sizes: str,
    extension: bytes,
    trailers: bytes,
    after: bytes,
) -> None:
    """Promise 1: framing never becomes content, wherever buffers end."""
    body = coded(chunks, sizes=sizes, extension=extension)
    body = body.removesuffix(b"\r\n") + trailers + b"\r\n"
    decoder = ChunkDecoder()
    assert await decode(cut(body + after, places), decoder=decoder) == b"".join(chunks)
    assert decoder.ended


@given(chunks=CHUNKS, places=PLACES, stop=st.integers(0, 1 << 20))
async def test_a_body_cut_short_is_not_at_its_end(
    chunks: list[bytes], places: list[int], stop: int
) -> None:
    """Promise 1: what arrived is a beginning of the body, and not taken for all of it."""
    body = coded(chunks)
    body = body[: stop % len(body)]
    decoder = ChunkDecoder()
    assert b"".join(chunks).startswith(await decode(cut(body, places), decoder=decoder))
    assert not decoder.ended


@given(chunks=CHUNKS)
async def test_bytes_one_at_a_time_are_the_same_body(chunks: list[bytes]) -> None:
    """Promise 1, at the smallest buffers there are."""
    body = coded([chunk[:50] for chunk in chunks])
    assert await decode([body[i : i + 1] for i in range(len(body))]) == b"".join(
        chunk[:50] for chunk in chunks
    )


MALFORMED = [
    b"\r\n",
    b"g\r\n",
    b"-1\r\n",
    b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"5_0\r\n",
    b" 5\r\nhello\r\n",
    b"5 5\r\nhello\r\n",
    b"5\nhello\r\n",
    b"5\rhello\r\n",
    b"5\r\r\nhello\r\n",
    b"5;a\nhello\r\n",
    b"5\r\nhelloo\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\r\nx\r\n",
    b"5\r\nhello\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"0\n\n",
    b"0\r\nA: b\n\r\n",
    "\uff15\r\nhello\r\n".encode(),
    b"5" + b";" + b"x" * 2000,
    b"0" * 2000,
    b"0\r\n" + b"A: b\r\n" * 5000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:24]))
async def test_framing_that_is_not_understood_is_refused(body: bytes) -> None:
    """Promise 1: two servers must never disagree on where a body ends."""
    with pytest.raises(BodyMalformed):
        await decode([body])
    with pytest.raises(BodyMalformed):
        await decode([body[i : i + 1] for i in range(len(body))])


@given(body=st.binary(max_size=200), places=PLACES)
async def test_garbage_is_refused_or_waited_on_and_nothing_else(
    body: bytes, places: list[int]
) -> None:
    """Promise 9: no bytes of a client raise anything but BodyMalformed."""
    decoder = ChunkDecoder()
    try:
        await decode(cut(body, places), decoder=decoder)
    except BodyMalformed:
        pass
    else:
        assert not decoder.ended or b"0\r\n" in body


async def test_a_body_of_single_bytes_makes_few_parts_and_lets_others_run() -> None:
    """Promise 7: a client that sends one byte a chunk costs the loop no long turn."""
    size_bytes = 200_000
    raw = memoryview(bytearray(coded([b"x"] * size_bytes)))
    longest_s = 0.0
    decoding = True

    async def watch() -> int:
        nonlocal longest_s
        turns = 0
        while decoding:
            started = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - started)
            turns += 1
        return turns

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        parts = await ChunkDecoder().decode(raw)
        decoding = False
    whole_s = time.perf_counter() - started
    assert b"".join(parts) == b"x" * size_bytes
    assert len(parts) == 1
    assert watching.result() > 100
    assert longest_s < whole_s / 4, "no turn takes a good part of the whole"


async def test_large_chunks_stay_where_they_are() -> None:
    """Promise 4: what docker sends (32 KiB chunks) is not moved about in memory."""
    chunk = bytes(range(256)) * 128
    raw = memoryview(bytearray(coded([chunk] * 8)))
    before = bytes(raw)
    parts = await ChunkDecoder().decode(raw)
    assert [bytes(part) for part in parts] == [chunk] * 8
    assert bytes(raw) == before
