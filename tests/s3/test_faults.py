"""Between blobd and its engine anything may go wrong: nothing wrong is ever committed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.api.served import digest_of, some_bytes, until
from tests.engines.every import DURABLE, EVERY
from tests.relay.faults import (
    ERROR_WITHIN_200,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    SLOW_DOWN,
    Fault,
    Pause,
    Reset,
)
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from tests.api.served import Served
    from tests.engines.s3 import S3Engine
    from tests.relay.relay import Relay
    from tests.s3.conftest import Replica

DATA = some_bytes(3 * PART_BYTES + 5)

PASSING = {
    "a part is reset": Fault("UploadPart", Reset(), at_request_byte=MIB),
    "a part's answer is lost": Fault("UploadPart", Reset(), at_answer_byte=0),
    "a part is refused": Fault("UploadPart", SLOW_DOWN, times=2),
    "the beginning fails": Fault("CreateMultipartUpload", INTERNAL_ERROR),
    "the end fails within 200": Fault("CompleteMultipartUpload", ERROR_WITHIN_200),
    "the end's answer is lost": Fault("CompleteMultipartUpload", Reset(), at_answer_byte=0),
    "a record's answer is lost": Fault("PutObject", Reset(), at_answer_byte=0, skip=1),
    "an index record is refused": Fault("PutObject", SLOW_DOWN, skip=2),
    "a listing is cut": Fault("ListObjectsV2", Reset(), at_answer_byte=20),
}
LASTING = {
    "parts are refused": Fault("UploadPart", SLOW_DOWN, skip=1, times=1000),
    "parts are reset": Fault("UploadPart", Reset(), at_request_byte=MIB, skip=1, times=1000),
    "parts are stalled": Fault("UploadPart", Pause(), skip=1, times=1000),
    "credentials have expired": Fault("any", EXPIRED_TOKEN, times=1000, skip=3),
    "the beginning fails": Fault("CreateMultipartUpload", INTERNAL_ERROR, times=1000),
    "records are refused": Fault("PutObject", INTERNAL_ERROR, times=1000),
}
AT_COMMIT = {
    "the end fails": Fault("CompleteMultipartUpload", INTERNAL_ERROR, times=1000),
    "the end fails within 200": Fault("CompleteMultipartUpload", ERROR_WITHIN_200, times=1000),
    "records are refused": Fault("PutObject", SLOW_DOWN, times=1000),
    "records are refused after the receipt": Fault("PutObject", SLOW_DOWN, times=1000, skip=1),
    "all is refused": Fault("any", SLOW_DOWN, times=1000),
}


def planned(relay: Relay, fault: Fault) -> Fault:
    return relay.plan(replace(fault))


@pytest.mark.parametrize("engine", EVERY, indirect=True)
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_retried(served: Served, relay: Relay, fault: Fault) -> None:
    """Issue: with the bytes still at hand; the client sees nothing of it."""
    upload = served.start()
    planned(relay, fault)
    assert served.ask("PATCH", upload, body=DATA).status == 202
    assert served.ask("PUT", f"{upload}?digest={digest_of(DATA)}").status == 201
    assert served.holds(DATA)


@pytest.mark.parametrize("engine", EVERY, indirect=True)
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_what_lasts_is_told_and_the_session_lives(
    replica: Replica, relay: Relay, fault: Fault
) -> None:
    """Issue: 503 with Retry-After, the session alive at an exact offset, and all goes on later."""
    with replica(relay, s3__retry_budget_s="1", s3__read_timeout_s="2") as served:
        upload = served.start()
        assert served.ask("PATCH", upload, body=DATA[:MIB]).status == 202
        plan = planned(relay, fault)
        answer = served.ask("PATCH", upload, body=DATA[MIB:])
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        plan.release()
        relay.forget()
        offset = served.offset(upload)
        assert offset is not None
        assert MIB <= offset <= len(DATA)
        assert served.ask("PATCH", upload, body=DATA[offset:]).status == 202
        assert served.ask("PUT", f"{upload}?digest={digest_of(DATA)}").status == 201
        assert served.holds(DATA)


@pytest.mark.parametrize("engine", EVERY, indirect=True)
@pytest.mark.parametrize("fault", AT_COMMIT.values(), ids=AT_COMMIT)
def test_a_commit_that_fails_is_finished_by_saying_it_again(
    replica: Replica, relay: Relay, fault: Fault
) -> None:
    """Issue: nothing wrong is ever committed; a repeated PUT ends well."""
    with replica(relay, s3__retry_budget_s="1", s3__read_timeout_s="2") as served:
        upload = served.start()
        assert served.ask("PATCH", upload, body=DATA).status == 202
        plan = planned(relay, fault)
        finish = f"{upload}?digest={digest_of(DATA)}"
        answer = served.ask("PUT", finish)
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
        plan.release()
        relay.forget()
        assert served.ask("PUT", finish).status == 201
        assert served.holds(DATA)


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
def test_the_engine_is_killed_in_the_middle(replica: Replica, engine: S3Engine) -> None:
    """Issue: killed and restarted mid-upload; what was acknowledged is there, the rest follows."""
    # SeaweedFS answers seconds before its volumes take bytes again where the machine is busy.
    with replica(s3__retry_budget_s="10") as served:
        upload = served.start()
        assert served.ask("PATCH", upload, body=DATA[: PART_BYTES + 7]).status == 202
        engine.kill()
        answer = served.ask("PATCH", upload, body=DATA[PART_BYTES + 7 :])
        assert answer.status == 503
        engine.start()
        offset = served.offset(upload)
        assert offset == PART_BYTES + 7
        assert served.ask("PATCH", upload, body=DATA[offset:]).status == 202
        assert served.ask("PUT", f"{upload}?digest={digest_of(DATA)}").status == 201
        assert served.holds(DATA)


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_a_download_goes_on_where_the_engine_broke_off(served: Served, relay: Relay) -> None:
    """Retries, for reading: the client gets every byte once."""
    served.store(DATA)
    relay.plan(Fault("GetObject", Reset(), at_answer_byte=2 * MIB, skip=1))
    relay.plan(Fault("GetObject", Reset(), at_answer_byte=MIB, skip=1))
    assert served.holds(DATA)
    assert len(relay.passages("GetObject")) >= 3


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_a_client_that_goes_away_stops_the_engine_too(served: Served, relay: Relay) -> None:
    """Issue: early stop; no more is read than what was on its way."""
    data = some_bytes(64 * MIB)
    served.store(data)
    relay.forget()
    with served.talk(receive_bytes=64 * 1024) as talk:
        talk.head("GET", f"/blobs/{digest_of(data)}")
        assert talk.answer_head().status == 200
        talk.read(MIB)
        talk.vanish()
    until(lambda: _is_still(served), "nothing more is read")
    assert served.daemon.metric("blobd_sent_bytes_total") < len(data) // 2


def _is_still(served: Served) -> bool:
    before = served.daemon.metric("blobd_sent_bytes_total")
    time.sleep(0.3)
    return served.daemon.metric("blobd_sent_bytes_total") == before
