"""The time limit of an upload, from its start to its last byte."""

from __future__ import annotations

import time

import pytest

from tests.api.served import Served, digest_of, some_bytes, until
from tests.http.talk import LAST_CHUNK

SETTINGS = {"limits.upload_timeout_s": "1"}
"""On the wall clock there are five seconds of grace; nothing here waits for them twice."""

pytestmark = pytest.mark.usefixtures("tidy")


def test_an_upload_that_takes_too_long_is_refused_and_ended(served: Served) -> None:
    """Design section 7: 403 DENIED whose message names the limit; 404 once it is swept."""
    asked, told, running, done = (served.start() for _ in range(4))
    data = some_bytes(1000)
    assert served.ask("PATCH", done, body=data).status == 202
    assert served.ask("PUT", f"{done}?digest={digest_of(data)}").status == 201
    with served.talk() as talk:
        talk.invited("PATCH", running, {"Transfer-Encoding": "chunked"})
        talk.chunk(b"some of it")
        until(lambda: served.ask("GET", asked).status == 403, "the upload is overdue")
        answer = talk.answer()
        assert (answer.status, answer.code, answer.closes) == (403, "DENIED", True)
        assert "limit of 1 s" in answer.message
    for upload in (asked, told):
        answer = served.ask("GET", upload)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert "limit of 1 s" in answer.message
    ended = [
        served.ask("PATCH", asked, body=b"more"),
        served.ask("PUT", f"{told}?digest={digest_of(b'')}"),
    ]
    assert [(answer.status, answer.code) for answer in ended] == [(403, "DENIED")] * 2
    for upload in (asked, told, running):
        assert served.offset(upload) is None
    assert served.ask("PUT", f"{done}?digest={digest_of(data)}").status == 201
    assert served.holds(data)


def test_a_sender_that_is_cut_reads_why(served: Served) -> None:
    """Design section 7: an early error is read, and not a reset."""
    upload = served.start()
    with served.talk() as talk:
        talk.invited("PATCH", upload, {"Transfer-Encoding": "chunked"})
        refused = False
        while not refused:
            talk.chunk(bytes(1000))
            time.sleep(0.05)  # a steady sender: what is tested is what it meets
            refused = talk.has_answer()
        answer = talk.answer()
        assert (answer.status, answer.code) == (403, "DENIED")
        talk.send(LAST_CHUNK)
