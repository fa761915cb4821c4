"""How several ranges are read and laid out: the bytes asked for, in that order, in few steps."""

from __future__ import annotations

import os
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.digest import Span
from blobd.http import multipart
from blobd.http.multipart import Collection, Envelope, Filling, Run, file_batches, stream_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.http.multipart import Part, StreamGroup

KIB = 1024
SIZE_BYTES = 6 * 1024 * KIB
DATA = os.urandom(SIZE_BYTES)

STARTS = st.integers(0, SIZE_BYTES - 1)
LENGTHS = st.integers(1, 100) | st.integers(1, 600 * KIB)
SPANS = st.lists(
    st.tuples(STARTS, LENGTHS).map(
        lambda pair: Span(pair[0], min(pair[0] + pair[1], SIZE_BYTES)),
    ),
    min_size=2,
    max_size=40,
)


def parts_of(spans: Sequence[Span]) -> tuple[Part, ...]:
    return Envelope.around(spans, blob_bytes=SIZE_BYTES).parts


def expected(parts: Sequence[Part]) -> bytes:
    return b"".join(part.head + DATA[part.span.start : part.span.stop] for part in parts)


def sent(group: StreamGroup, piece_bytes: int) -> bytes:
    """Return what a group is answered with where the stream comes in pieces of this size."""
    if group.ascends:
        run = Run(group)
        return b"".join(
            bytes(each) for piece in pieces_of(run.span, piece_bytes) for each in run.cut(piece)
        )
    collection = Collection(group)
    for fetch in collection.fetches:
        filling = Filling(fetch)
        for piece in pieces_of(fetch.span, piece_bytes):
            filling.add(piece)
    return bytes(collection.data)


def pieces_of(span: Span, piece_bytes: int) -> list[bytes]:
    return [
        DATA[start : min(start + piece_bytes, span.stop)]
        for start in range(span.start, span.stop, piece_bytes)
    ]


def reads(parts: Sequence[Part]) -> list[Span]:
    return [
        span
        for group in stream_groups(parts)
        for span in (
            [Run(group).span]
            if group.ascends
            else [fetch.span for fetch in Collection(group).fetches]
        )
    ]


@given(spans=SPANS, piece_bytes=st.sampled_from([1000, 64 * KIB, 1024 * KIB]))
def test_a_stream_is_cut_into_exactly_what_was_asked_for(
    spans: list[Span], piece_bytes: int
) -> None:
    """Promise 1: any order, overlaps, any size of what comes."""
    parts = parts_of(spans)
    assert b"".join(sent(group, piece_bytes) for group in stream_groups(parts)) == expected(parts)


@given(spans=SPANS)
def test_what_is_held_and_what_is_skipped_is_bounded(spans: list[Span]) -> None:
    """Promise 7: little is collected, and no more is dropped than small gaps."""
    parts = parts_of(spans)
    wanted_bytes = sum(span.size_bytes for span in spans)
    groups = list(stream_groups(parts))
    for group in groups:
        if not group.ascends:
            assert group.blob_bytes <= multipart.COLLECTED_BYTES
    read_bytes = sum(span.size_bytes for span in reads(parts))
    assert read_bytes <= wanted_bytes + len(parts) * multipart.SKIPPED_GAP_BYTES
    assert len(reads(parts)) <= len(parts)
    assert sum(group.blob_bytes for group in groups) == wanted_bytes


def test_ascending_pieces_are_one_read() -> None:
    """The order in which containers/storage asks."""
    spans = [Span(start, start + 2000) for start in range(0, SIZE_BYTES - 2000, 6 * KIB)]
    assert len(spans) == 1024
    assert reads(parts_of(spans)) == [Span(0, spans[-1].stop)]


def test_pieces_in_any_order_are_read_in_the_order_of_the_blob() -> None:
    spans = [Span(start, start + 2000) for start in range(0, SIZE_BYTES - 2000, 6 * KIB)]
    mixed = sorted(spans, key=lambda span: span.start * 7919 % 6007)
    assert reads(parts_of(mixed)) == [Span(0, spans[-1].stop)]


def test_a_large_gap_is_not_read() -> None:
    far = multipart.SKIPPED_GAP_BYTES + 1
    near, next_one = Span(0, 10), Span(10 + far, 20 + far)
    assert reads(parts_of([near, next_one])) == [near, next_one]
    assert reads(parts_of([next_one, near])) == [near, next_one]
    just = Span(9 + far, 20 + far)
    assert reads(parts_of([near, just])) == [Span(0, just.stop)]


@given(spans=SPANS)
def test_a_file_is_read_as_was_asked(spans: list[Span]) -> None:
    """Promise 1, for files: small pieces together, large ones apart."""
    parts = parts_of(spans)
    out = []
    with TemporaryFile() as file:
        file.write(DATA)
        file.flush()
        for batch in file_batches(parts):
            out.append(bytes(batch.read(file.fileno())))
            assert all(part.span.size_bytes < multipart.LARGE_PIECE_BYTES for part in batch.parts)
            if batch.large is not None:
                out.append(DATA[batch.large.span.start : batch.large.span.stop])
    assert b"".join(out) == expected(parts)


def test_many_small_pieces_of_a_file_are_few_batches() -> None:
    spans = [Span(start, start + 100) for start in range(0, SIZE_BYTES - 100, 6 * KIB)]
    assert len(spans) == 1024
    assert len(list(file_batches(parts_of(spans)))) == 1


def test_a_file_that_ends_early_breaks_the_answer_off() -> None:
    """Promise 1: never wrong bytes in place of those that are missing."""
    (batch,) = file_batches(parts_of([Span(0, 10), Span(90, 110)]))
    with TemporaryFile() as file:
        file.write(bytes(100))
        file.flush()
        with pytest.raises(ConnectionResetError):
            batch.read(file.fileno())
