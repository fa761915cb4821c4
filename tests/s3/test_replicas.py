"""Replicas on one bucket: any of them goes on with any upload, whoever was killed."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.api.served import digest_of, some_bytes, until
from tests.engines.every import EVERY
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.served import Served
    from tests.s3.conftest import Replica

pytestmark = pytest.mark.parametrize("engine", EVERY, indirect=True)

DATA = some_bytes(4 * PART_BYTES + 3 * MIB + 7)


@pytest.fixture
def replicas(replica: Replica) -> Iterator[tuple[Served, Served]]:
    with ExitStack() as stack:
        yield stack.enter_context(replica()), stack.enter_context(replica())


def finish(served: Served, upload: str, data: bytes) -> int:
    return served.ask("PUT", f"{upload}?digest={digest_of(data)}").status


def test_an_upload_goes_from_replica_to_replica(replicas: tuple[Served, Served]) -> None:
    """Issue: PATCHes of any size, at one and the other; each reads the other's last offset."""
    upload, start = replicas[0].start(), 0
    for number, size_bytes in enumerate((1, 6 * MIB, 3, 9 * MIB, MIB, len(DATA))):
        served = replicas[number % 2]
        assert served.offset(upload) == start
        piece = DATA[start : start + size_bytes]
        assert served.ask("PATCH", upload, body=piece).status == 202
        start += len(piece)
    assert finish(replicas[0], upload, DATA) == 201
    assert replicas[1].holds(DATA)
    assert finish(replicas[1], upload, DATA) == 201


def test_another_replica_goes_on_after_a_kill(replicas: tuple[Served, Served]) -> None:
    """Promise 5: the acknowledged offset, no byte read again but a tail shorter than a part."""
    one, two = replicas
    upload = one.start()
    assert one.ask("PATCH", upload, body=DATA[: 2 * PART_BYTES + 5]).status == 202
    with one.talk() as talk:
        talk.head("PATCH", upload, {"Content-Length": len(DATA) - 2 * PART_BYTES - 5})
        talk.send(DATA[2 * PART_BYTES + 5 : 4 * PART_BYTES])
        until(lambda: one.daemon.metric("blobd_received_bytes_total") > 3 * PART_BYTES, "it came")
        one.daemon.kill()
    offset = two.offset(upload)
    assert offset == 2 * PART_BYTES + 5
    assert two.ask("PATCH", upload, body=DATA[offset:]).status == 202
    assert finish(two, upload, DATA) == 201
    assert two.daemon.metric("blobd_reread_bytes_total") == 0
    assert two.holds(DATA)


def test_a_client_that_comes_back_elsewhere_overtakes_itself(
    replicas: tuple[Served, Served],
) -> None:
    """Promise 6: its dead connection, which another replica still holds, cannot write any more."""
    one, two = replicas
    upload = one.start()
    assert one.ask("PATCH", upload, body=DATA[:PART_BYTES]).status == 202
    with one.talk() as talk:
        talk.head("PATCH", upload, {"Content-Length": len(DATA) - PART_BYTES})
        talk.send(DATA[PART_BYTES : 3 * PART_BYTES])
        until(lambda: one.daemon.metric("blobd_received_bytes_total") > 2 * PART_BYTES, "it came")
        time.sleep(2.1)  # younger than that, a session is taken for its client's next request
        offset = two.offset(upload)
        assert offset is not None
        assert two.ask("PATCH", upload, body=DATA[offset:]).status == 202
        talk.send(DATA[3 * PART_BYTES :])
        assert talk.answer().status in (416, 503)
    assert finish(two, upload, DATA) == 201
    assert one.holds(DATA)


def test_two_replicas_finish_one_upload_at_once(replicas: tuple[Served, Served]) -> None:
    """Issue: fenced, also without conditional writes; both are told of the same blob."""
    for _ in range(4):
        data = some_bytes(PART_BYTES + 11)
        upload = replicas[0].start()
        assert replicas[0].ask("PATCH", upload, body=data).status == 202
        ends: list[int] = []

        def say(served: Served) -> None:
            ends.append(finish(served, upload, data))  # noqa: B023

        threads = [threading.Thread(target=say, args=(served,)) for served in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 201 in ends
        assert set(ends) <= {201, 416, 503}
        assert finish(replicas[0], upload, data) == 201
        assert replicas[1].holds(data)


def test_equal_blobs_at_once_are_one(replicas: tuple[Served, Served]) -> None:
    """Promise 1: whoever commits last, the digest names one blob, whole."""
    threads = [
        threading.Thread(target=served.store, args=(DATA,)) for served in replicas for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(served.holds(DATA) for served in replicas)


def test_requests_go_round(replica: Replica, replicas: tuple[Served, Served]) -> None:
    """Replicas behind a balancer that knows nothing of sessions."""
    del replica
    for _ in range(3):
        data = some_bytes(2 * PART_BYTES + 3)
        upload = replicas[0].start()
        for number, start in enumerate(range(0, len(data), 3 * MIB)):
            body = data[start : start + 3 * MIB]
            assert replicas[(number + 1) % 2].ask("PATCH", upload, body=body).status == 202
        assert finish(replicas[1], upload, data) == 201
        assert replicas[0].holds(data)
