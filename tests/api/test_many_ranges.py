"""Partial pulls: up to 1,024 ranges in one request, from files and from memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.api.pieces import RANGES_MAX, any_order, assert_answered, exactly
from tests.api.served import Served, digest_of, some_bytes, until
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_BYTES = 40_000_001
DATA = some_bytes(SIZE_BYTES)
ETAG = f'"{digest_of(DATA)}"'
BLOB = f"/blobs/{digest_of(DATA)}"
AUTHORIZATION = {"Authorization": "Bearer " + "x" * 8000}
"""As large as tokens become; it goes in the same head as the ranges."""
MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["filesystem", "memory"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A daemon that has DATA."""
    settings = {"store.backend": request.param, "store.durability": "none", "server.workers": "1"}
    with Daemon(tmp_path_factory.mktemp("blobd") / "data", settings=settings) as daemon:
        served = Served(daemon)
        served.store(DATA)
        yield served


@pytest.mark.parametrize("piece_bytes", [2, 900, 8000])
def test_1024_ranges_in_any_order_are_answered_in_that_order(
    stored: Served, piece_bytes: int
) -> None:
    """RFC 9110 section 15.3.7.2; adjacent and overlapping ranges stay as they were asked for."""
    asked = any_order(SIZE_BYTES, piece_bytes=piece_bytes, seed=piece_bytes)
    assert len(asked.header) > 22_000
    answer = stored.ask("GET", BLOB, {"Range": asked.header, **AUTHORIZATION})
    assert_answered(answer, DATA, asked)


def test_small_and_large_pieces_alternate(stored: Served) -> None:
    """By sendfile or in batches, on one connection that goes on to be used."""
    spans = [
        (first, first + size_bytes - 1)
        for number, size_bytes in enumerate([10, 300_000, 255_000, 262_144, 1, 5_000_000, 7] * 3)
        for first in [number * 1_600_000 % 34_000_000]
    ]
    asked = exactly(spans)
    with stored.talk() as talk:
        for _ in range(2):
            answer = talk.ask("GET", BLOB, {"Range": asked.header})
            assert_answered(answer, DATA, asked)


def test_suffixes_and_ranges_beyond_the_end_are_among_them(stored: Served) -> None:
    """RFC 9110 section 14.1.2: what can be satisfied is; the rest has no part."""
    specs, spans = [], []
    for number in range(256):
        first = number * 1000
        specs += [
            f"{first}-{first + 9}",
            f"-{number + 1}",
            f"{SIZE_BYTES + number}-",
            f"{SIZE_BYTES - number - 1}-{SIZE_BYTES * 2}",
        ]
        end = (SIZE_BYTES - number - 1, SIZE_BYTES - 1)
        spans += [(first, first + 9), end, end]
    answer = stored.ask("GET", BLOB, {"Range": "bytes=" + ",".join(specs)})
    assert_answered(answer, DATA, exactly(spans))
    beyond = ",".join(f"{SIZE_BYTES + number}-" for number in range(RANGES_MAX))
    answer = stored.ask("GET", BLOB, {"Range": f"bytes={beyond}"})
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE_BYTES}"


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("bytes=" + ",".join(["7-7"] * (RANGES_MAX + 1)), id="too many"),
        pytest.param("bytes=" + ",".join(["0-", "-1"] * 2), id="more than the blob"),
        pytest.param(any_order(SIZE_BYTES, piece_bytes=9, seed=1).header + "x", id="malformed"),
        pytest.param(any_order(SIZE_BYTES, piece_bytes=9, seed=1).header + ",-", id="no numbers"),
    ],
)
def test_what_is_not_answered_in_parts_is_sent_whole(stored: Served, asked: str) -> None:
    """RFC 9110 section 14.2: a server may ignore Range; clients cut the parts out themselves."""
    answer = stored.ask("GET", BLOB, {"Range": asked})
    assert answer.status == 200
    assert answer.body == DATA


def test_many_ranges_depend_on_validators_as_one_does(stored: Served) -> None:
    asked = any_order(SIZE_BYTES, piece_bytes=100, seed=2)
    ranges = {"Range": asked.header}
    assert_answered(stored.ask("GET", BLOB, {**ranges, "If-Range": ETAG}), DATA, asked)
    assert stored.ask("GET", BLOB, {**ranges, "If-Range": '"x"'}).body == DATA
    assert stored.ask("GET", BLOB, {**ranges, "If-None-Match": ETAG}).status == 304
    assert stored.ask("GET", BLOB, {**ranges, "If-Match": '"x"'}).status == 412
    head = stored.ask("HEAD", BLOB, ranges)
    assert (head.status, head.headers["Content-Length"]) == (200, str(SIZE_BYTES))


def test_only_bytes_of_the_blob_are_counted_as_sent(stored: Served) -> None:
    sent = stored.daemon.metric("blobd_sent_bytes_total")
    asked = any_order(SIZE_BYTES, piece_bytes=100, seed=3)
    stored.ask("GET", BLOB, {"Range": asked.header})
    until(
        lambda: stored.daemon.metric("blobd_sent_bytes_total") - sent == asked.blob_bytes,
        "as many bytes are counted as were asked for",
    )


def test_clients_that_go_away_or_read_slowly_cost_little_memory(stored: Served) -> None:
    """Promise 7: what a client does not take stays where it is stored."""
    step = SIZE_BYTES // RANGES_MAX
    asked = exactly(
        [(first, first + step - 1) for first in range((RANGES_MAX - 1) * step, -1, -step)]
    )
    ranges = {"Range": asked.header}
    stored.ask("GET", BLOB, ranges)  # whatever is made only once
    before = stored.sockets()
    rss_bytes = stored.daemon.rss_bytes()
    talks = [stored.talk(receive_bytes=16 * 1024) for _ in range(20)]
    for talk in talks:
        talk.head("GET", BLOB, ranges)
    answers = [talk.answer_head() for talk in talks]
    starts = [talk.read(100_000) for talk in talks]
    assert stored.ask("GET", BLOB, {"Range": "bytes=0-0,5-5"}).status == 206, "others are served"
    assert stored.daemon.rss_bytes() - rss_bytes < len(talks) * 4 * MIB
    for number, talk in enumerate(talks[1:]):
        if number % 2:
            talk.vanish()
        else:
            talk.close()
    until(lambda: stored.sockets() <= before + 1, "connections are closed")
    left_bytes = int(answers[0].headers["Content-Length"]) - len(starts[0])
    body = starts[0] + talks[0].read(left_bytes)
    assert_answered(replace(answers[0], body=body), DATA, asked)
    talks[0].close()
    until(
        lambda: not any("/blobs/" in path for path in stored.daemon.open_files()),
        "files are closed",
    )
