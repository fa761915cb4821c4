"""Partial pulls out of a bucket: many ranges in few requests to the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.api.pieces import any_order, assert_answered, exactly
from tests.api.served import digest_of, some_bytes, until
from tests.engines.every import EVERY
from tests.relay.faults import Fault, Reset
from tests.s3.conftest import MIB

if TYPE_CHECKING:
    from tests.api.served import Served
    from tests.relay.relay import Relay
    from tests.s3.conftest import Replica

pytestmark = pytest.mark.parametrize("engine", EVERY, indirect=True)

SIZE_BYTES = 24 * MIB
DATA = some_bytes(SIZE_BYTES)
BLOB = f"/blobs/{digest_of(DATA)}"
ASCENDING = exactly([(number * 24_000, number * 24_000 + 1999) for number in range(1024)])
"""As containers/storage asks for the changed files of a layer: in order, with gaps."""


@pytest.fixture
def stored(served: Served, relay: Relay) -> Served:
    """A daemon that has DATA in its bucket, and knows where it lies."""
    served.store(DATA)
    assert served.ask("GET", BLOB, {"Range": "bytes=0-0"}).status == 206
    relay.forget()
    return served


def test_ascending_ranges_are_one_request_to_the_engine(stored: Served, relay: Relay) -> None:
    answer = stored.ask("GET", BLOB, {"Range": ASCENDING.header})
    assert_answered(answer, DATA, ASCENDING)
    assert len(relay.passages()) == 1


@pytest.mark.parametrize(("piece_bytes", "requests"), [(900, 1), (5000, 2)])
def test_ranges_in_any_order_are_few_requests_to_the_engine(
    stored: Served, relay: Relay, piece_bytes: int, requests: int
) -> None:
    """1,024 ranges in random order, overlapping and adjacent ones among them."""
    asked = any_order(SIZE_BYTES, piece_bytes=piece_bytes, seed=piece_bytes)
    answer = stored.ask("GET", BLOB, {"Range": asked.header})
    assert_answered(answer, DATA, asked)
    assert 1 <= len(relay.passages()) <= requests


def test_large_gaps_are_not_fetched(stored: Served, relay: Relay) -> None:
    """What the engine sends is what is wanted, and small gaps."""
    asked = exactly([(number * 5 * MIB, number * 5 * MIB + 9) for number in (3, 0, 4, 1, 2)])
    answer = stored.ask("GET", BLOB, {"Range": asked.header})
    assert_answered(answer, DATA, asked)
    assert len(relay.passages()) == 5
    assert sum(passage.answer_bytes for passage in relay.passages()) < 64 * 1024


def test_only_several_ranges_are_kept_from_the_engine(replica: Replica, relay: Relay) -> None:
    """A whole blob and one range are redirected; several never, because engines send them whole."""
    with replica(relay, s3__redirect="true") as served:
        served.store(DATA)
        for headers in ({}, {"Range": "bytes=5-99"}, {"Range": "bytes=-1"}):
            assert served.ask("GET", BLOB, headers).status == 307
        for headers in ({}, {"Range": "bytes=5-99"}, {"Range": ASCENDING.header}):
            assert served.ask("HEAD", BLOB, headers).status == 200
        answer = served.ask("GET", BLOB, {"Range": ASCENDING.header})
        assert_answered(answer, DATA, ASCENDING)
        asked = exactly([(9, 9), (0, 0)])
        assert_answered(served.ask("GET", BLOB, {"Range": asked.header}), DATA, asked)
        too_many = "bytes=" + ",".join(["7-7"] * 1025)
        assert served.ask("GET", BLOB, {"Range": too_many}).status == 307


def test_an_engine_that_breaks_off_is_asked_again(stored: Served, relay: Relay) -> None:
    """Promise 1: every byte once, in its part."""
    relay.plan(Fault("GetObject", Reset(), at_answer_byte=2 * MIB))
    answer = stored.ask("GET", BLOB, {"Range": ASCENDING.header})
    assert_answered(answer, DATA, ASCENDING)
    relay.plan(Fault("GetObject", Reset(), at_answer_byte=MIB))
    asked = any_order(SIZE_BYTES, piece_bytes=900, seed=4)
    assert_answered(stored.ask("GET", BLOB, {"Range": asked.header}), DATA, asked)


def test_a_slow_client_holds_little_and_one_that_leaves_ends_the_read(
    stored: Served, relay: Relay
) -> None:
    """Promise 7: memory is bounded whatever a client takes, and the engine is left with it."""
    step = SIZE_BYTES // 1024
    for pieces in (range(1024), range(1023, -1, -1)):
        asked = exactly([(number * step, number * step + step - 1) for number in pieces])
        rss_bytes = stored.daemon.rss_bytes()
        talks = [stored.talk(receive_bytes=16 * 1024) for _ in range(4)]
        for talk in talks:
            talk.head("GET", BLOB, {"Range": asked.header})
        answers = [talk.answer_head() for talk in talks]
        starts = [talk.read(100_000) for talk in talks]
        assert stored.daemon.rss_bytes() - rss_bytes < len(talks) * 12 * MIB
        sent_bytes = sum(passage.answer_bytes for passage in relay.passages())
        assert sent_bytes < len(talks) * SIZE_BYTES / 2
        for talk in talks[1:]:
            talk.vanish()
        left_bytes = int(answers[0].headers["Content-Length"]) - len(starts[0])
        body = starts[0] + talks[0].read(left_bytes)
        assert_answered(replace(answers[0], body=body), DATA, asked)
        talks[0].close()
        relay.forget()
    before = stored.sockets()
    until(lambda: stored.sockets() <= before, "connections are closed")
