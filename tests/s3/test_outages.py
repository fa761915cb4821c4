"""The engine is away for a while: what was under way waits, and ends well."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from blobd.backends.s3.calls import S3Calls
from blobd.backends.s3.download import Download
from blobd.errors import BackendUnavailable
from blobd.metrics import Metrics
from tests.api.served import digest_of, some_bytes, until
from tests.backends.s3_site import PREFIX, config_of
from tests.engines.every import DURABLE, EVERY, MOTO
from tests.relay.faults import SLOW_DOWN, Fault, s3_error
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.api.served import Served
    from tests.engines.s3 import Bucket, S3Engine
    from tests.http.talk import Talk
    from tests.relay.relay import Relay
    from tests.s3.conftest import Replica

AWAY_S = 20
CLIENTS = 10
FOR_EVER_S = "3600"
"""Longer than any test waits: what ends nevertheless has not waited for it."""


class Transfers:
    """Ten uploads and ten downloads at once, each one request, that meet in their middle."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.blob = some_bytes(6 * PART_BYTES)
        self.bodies = [some_bytes(2 * PART_BYTES + number) for number in range(CLIENTS)]
        served.store(self.blob)
        self.begun = threading.Barrier(2 * CLIENTS + 1, timeout=60)
        self.away = threading.Event()

    def upload(self, body: bytes) -> int:
        """Send a body, once; return the answer's status."""
        with self._served.talk() as talk:
            target = f"/uploads?digest={digest_of(body)}"
            talk.head("POST", target, {"Content-Length": len(body)})
            talk.send(body[: PART_BYTES + MIB])
            self.begun.wait()
            assert self.away.wait(60)
            talk.send(body[PART_BYTES + MIB :])
            return talk.answer().status

    def download(self) -> bytes:
        """Return a blob, read slowly by one request."""
        with self._served.talk(receive_bytes=64 * 1024) as talk:
            talk.head("GET", f"/blobs/{digest_of(self.blob)}")
            assert talk.answer_head().status == 200
            first = talk.read(MIB)
            self.begun.wait()
            assert self.away.wait(60)
            return first + talk.read(len(self.blob) - len(first))

    def survive(self, outage: AbstractContextManager[None]) -> None:
        received_bytes = self._received_bytes()
        with ThreadPoolExecutor(2 * CLIENTS) as pool:
            uploads = [pool.submit(self.upload, body) for body in self.bodies]
            downloads = [pool.submit(self.download) for _ in range(CLIENTS)]
            self.begun.wait()
            with outage:
                self.away.set()
                time.sleep(AWAY_S)
            assert [upload.result() for upload in uploads] == [201] * CLIENTS
            assert all(download.result() == self.blob for download in downloads)
        assert self._received_bytes() - received_bytes == sum(map(len, self.bodies))
        assert all(self._served.holds(body) for body in self.bodies)

    def _received_bytes(self) -> float:
        return self._served.daemon.metric("blobd_received_bytes_total")


@contextmanager
def killed(engine: S3Engine) -> Iterator[None]:
    engine.kill()
    try:
        yield
    finally:
        engine.start()


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_transfers_outlast_an_engine_that_refuses(replica: Replica, relay: Relay) -> None:
    """Away for 20 s in the middle of ten uploads and ten downloads; all end well.

    One account sends all ten, and waits for its share of the buffers until the engine is back.
    """
    with replica(relay, limits__budget_wait_s="120") as served:
        Transfers(served).survive(relay.away())
        for operation in ("GetObject", "UploadPart"):
            assert served.daemon.metric("blobd_s3_retries_total", operation=operation) > 0


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
def test_transfers_outlast_an_engine_that_is_killed(replica: Replica, engine: S3Engine) -> None:
    """Issue: the same with kill -9 of the real engine, and its restart, however long that takes."""
    with replica(s3__retry_budget_s="120", limits__budget_wait_s="120") as served:
        Transfers(served).survive(killed(engine))


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_no_failure_takes_attempts_from_the_next_request(replica: Replica, relay: Relay) -> None:
    """Issue: no shared quota: what follows an outage is tried as often as what went before it."""
    with replica(relay, s3__retry_budget_s="2") as served:
        outage = relay.plan(Fault("PutObject", SLOW_DOWN, times=10_000))
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = [pool.submit(served.ask, "POST", "/uploads") for _ in range(2 * CLIENTS)]
            assert {answer.result().status for answer in answers} == {503}
        outage.release()
        before = _retries(served)
        assert before > 2 * CLIENTS
        relay.plan(Fault("PutObject", SLOW_DOWN, times=3))
        served.start()
        assert _retries(served) == before + 3
        assert served.daemon.metric("blobd_s3_retries_total", operation="PutObject") == before + 3


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_retry_after_is_waited_for(served: Served, relay: Relay) -> None:
    """Issue: as the engine asks, once."""
    relay.plan(Fault("PutObject", s3_error(503, "SlowDown", "Retry-After: 2\r\n")))
    started_s = time.monotonic()
    served.store(some_bytes(10))
    assert time.monotonic() - started_s >= 2
    assert served.daemon.metric("blobd_s3_retries_total") == 1


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_what_cannot_be_waited_for_is_not_tried(replica: Replica, relay: Relay) -> None:
    """A Retry-After beyond the budget: 503 at once, and the client knows it may come back."""
    with replica(relay, s3__retry_budget_s=FOR_EVER_S) as served:
        relay.plan(Fault("PutObject", s3_error(503, "SlowDown", "Retry-After: 4000\r\n")))
        answer = served.ask("POST", "/uploads")
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        assert served.daemon.metric("blobd_s3_retries_total") == 0


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_an_upload_waits_for_no_engine_beyond_its_own_time(replica: Replica, relay: Relay) -> None:
    """Issue: all within the upload's own time limit."""
    settings = {"s3__retry_budget_s": FOR_EVER_S, "limits__upload_timeout_s": "3"}
    with replica(relay, **settings) as served:
        upload = served.start()
        with served.talk() as talk:
            _begin_patch(served, talk, upload)
            with relay.away():
                talk.send(bytes(2 * PART_BYTES))
                assert talk.answer().status == 403


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_a_writer_that_waits_for_the_engine_lets_go_at_once(replica: Replica, relay: Relay) -> None:
    """Promise 6: a client that comes back takes its upload over, also in an outage."""
    data = some_bytes(3 * PART_BYTES)
    with replica(relay, s3__retry_budget_s=FOR_EVER_S) as served:
        upload = served.start()
        with ThreadPoolExecutor(1) as pool, served.talk() as talk:
            _begin_patch(served, talk, upload)
            refusal = relay.plan(Fault("UploadPart", SLOW_DOWN, times=10_000))
            talk.send(data[: 2 * PART_BYTES])
            until(lambda: _retries(served) > 0, "a part is tried again")
            coming_back = pool.submit(served.ask, "PATCH", upload, body=data)
            assert talk.answer().status == 416
            refusal.release()
            assert coming_back.result().status == 202
        assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
        assert served.holds(data)


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_a_stop_waits_for_no_engine(replica: Replica, relay: Relay) -> None:
    """What waits is ended with the drain."""
    settings = {"s3__retry_budget_s": FOR_EVER_S, "limits__drain_timeout_s": "0.5"}
    with replica(relay, **settings) as served:
        upload = served.start()
        with served.talk() as talk:
            _begin_patch(served, talk, upload)
            with relay.away():
                talk.send(bytes(2 * PART_BYTES))
                until(lambda: _retries(served) > 0, "a part is tried again")
                served.daemon.stop()


def _begin_patch(served: Served, talk: Talk, upload: str) -> None:
    """Let a PATCH of three parts be under way."""
    before_bytes = served.daemon.metric("blobd_received_bytes_total")
    talk.head("PATCH", upload, {"Content-Length": 3 * PART_BYTES})
    talk.send(bytes(MIB))
    until(
        lambda: served.daemon.metric("blobd_received_bytes_total") > before_bytes, "it is received"
    )


def _retries(served: Served) -> float:
    return served.daemon.metric("blobd_s3_retries_total")


@pytest.mark.parametrize("engine", EVERY, indirect=True)
@pytest.mark.parametrize("changes", [False, True])
def test_a_download_resumes_the_same_object_only(
    bucket: Bucket, relay: Relay, changes: bool
) -> None:
    """Issue: an object that has changed in between is an error, never a mixture."""
    data = some_bytes(16 * MIB)
    settings = config_of(bucket, endpoint_url=relay.url).s3
    calls = S3Calls(settings, Metrics())
    bucket.write(f"{PREFIX}one", data)
    download = Download.open(calls, "one", 0, len(data))
    assert download is not None
    read = bytearray(download.read(1000))
    relay.cut()
    if changes:
        bucket.write(f"{PREFIX}one", some_bytes(len(data)))
    with pytest.raises(BackendUnavailable, match="has changed") if changes else nullcontext():
        while piece := download.read(MIB):
            read += piece
    assert bytes(read) == data[: len(read)]
    assert (len(read) == len(data)) is not changes
    download.close()
    calls.close()
