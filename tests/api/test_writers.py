"""Two requests on one upload: the newer one takes it over, and bytes never interleave."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.api.served import Served, digest_of, some_bytes, until, upload_of
from tests.daemon import Daemon
from tests.http.talk import LAST_CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.talk import Answer

SETTINGS = {"server.workers": "2"}
CHUNKED = {"Transfer-Encoding": "chunked"}

undisturbed = pytest.mark.usefixtures("undisturbed")


def is_overtaken(answer: Answer, upload: str) -> bool:
    """Whether it is the 416 with which an overtaken request ends."""
    return (
        (answer.status, answer.code, answer.closes) == (416, "BLOB_UPLOAD_INVALID", True)
        and upload_of(answer) == upload
        and answer.headers["Docker-Upload-UUID"] == upload.rpartition("/")[2]
    )


@undisturbed
@pytest.mark.parametrize("newer", ["PATCH", "PUT"])
@pytest.mark.parametrize("older", ["PATCH", "PUT"])
def test_the_newer_request_takes_over(served: Served, older: str, newer: str) -> None:
    """Promise 6: the overtaken request gets 416 with Location and Range, and closes."""
    data, other = some_bytes(1_000_000), b"o" * 1_000_000
    upload = served.start()
    targets = {"PATCH": upload, "PUT": f"{upload}?digest={digest_of(data)}"}
    with served.talk() as first, served.talk() as second:
        first.invited(older, targets[older], {"Content-Length": len(other)})
        first.send(other[:500_000])
        second.invited(newer, targets[newer], CHUNKED)
        answer = first.answer()
        assert is_overtaken(answer, upload)
        assert "Range" not in answer.headers, "something of the older request was saved"
        second.chunk(data)
        second.send(LAST_CHUNK)
        assert second.answer().status == (202 if newer == "PATCH" else 201)
    if newer == "PATCH":
        assert served.ask("PUT", targets["PUT"]).status == 201
    assert served.holds(data)


@undisturbed
def test_a_dead_writer_is_overtaken_though_nobody_noticed_its_death(served: Served) -> None:
    """Promise 6: a client that lost its connection and comes back goes on at once."""
    data = some_bytes(3_000_000)
    upload = served.start()
    with served.talk() as dead:
        dead.invited("PATCH", upload, {"Content-Length": len(data)})
        dead.send(data[:1_000_000])
        with served.talk() as alive:
            alive.invited("PATCH", upload, {"Content-Length": len(data)})
            alive.send(data)
            assert alive.answer().headers["Range"] == f"0-{len(data) - 1}"
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    assert served.holds(data)


@undisturbed
def test_many_writers_never_mix_their_bytes(served: Served) -> None:
    """Promise 6: whatever is in the upload at the end is what single requests put there."""
    upload = served.start()
    talks = [served.talk() for _ in range(8)]
    for number, talk in enumerate(talks):
        talk.head("PATCH", upload, {"Content-Length": 300_000})
        talk.send(bytes([number]) * 200_000)
    for number, talk in enumerate(talks):
        try:
            talk.send(bytes([number]) * 100_000)
        except (BrokenPipeError, ConnectionResetError):
            continue
    answers = [talk.answer() for talk in talks]
    for talk in talks:
        talk.close()
    assert all(answer.status == 202 or is_overtaken(answer, upload) for answer in answers)
    taken = [number for number, answer in enumerate(answers) if answer.status == 202]
    assert taken, "the newest of them all got through"
    assert served.offset(upload) == 300_000 * len(taken)
    staged = (served.daemon.data / upload.removeprefix("/") / "bytes").read_bytes()
    runs = [staged[start : start + 300_000] for start in range(0, len(staged), 300_000)]
    assert all(run == run[:1] * 300_000 for run in runs)
    assert sorted(run[0] for run in runs) == taken
    assert served.ask("PUT", f"{upload}?digest={digest_of(staged)}").status == 201


@undisturbed
def test_the_end_of_an_upload_is_told_to_whoever_still_sends(served: Served) -> None:
    """Promise 6: a PUT without a body takes over as well."""
    data = some_bytes(100_000)
    upload = served.start()
    assert served.ask("PATCH", upload, body=data).status == 202
    with served.talk() as talk:
        talk.invited("PATCH", upload, {"Content-Length": 200_000})
        talk.send(bytes(100_000))
        assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
        answer = talk.answer()
        assert answer.status in {404, 416}
        assert answer.closes
    assert served.holds(data)


@pytest.fixture
def beside(served: Served) -> Iterator[Served]:
    """Another daemon on the same folder."""
    with Daemon(served.daemon.data, settings={"server.workers": "1"}) as daemon:
        yield Served(daemon)


def test_a_writer_that_does_not_let_go_makes_others_come_back_later(
    served: Served, beside: Served
) -> None:
    """Design section 5: else 503 after 5 s, with Retry-After; then it can be had."""
    data = some_bytes(1_000_000)
    upload = served.start()
    with beside.talk() as stuck:
        stuck.invited("PATCH", upload, {"Content-Length": len(data)})
        stuck.send(data[:500_000])
        until(lambda: beside.has_writer(upload), "it is the writer")
        for pid in beside.daemon.pids():
            os.kill(pid, signal.SIGSTOP)
        try:
            answer = served.ask("PATCH", upload, body=data)
        finally:
            for pid in beside.daemon.pids():
                os.kill(pid, signal.SIGCONT)
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
    until(lambda: not beside.has_writer(upload), "it has let go")
    assert served.ask("DELETE", upload).status == 204


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_killed_daemon_holds_no_upload_back(served: Served, method: str) -> None:
    """Promise 5: kill -9 frees the upload for others at once, where a PATCH had come to."""
    first, last = some_bytes(200_000), some_bytes(1_000_000)
    whole = first + last
    upload = served.start()
    assert served.ask("PATCH", upload, body=first).status == 202
    daemon = Daemon(served.daemon.data, settings={"server.workers": "1"})
    daemon.start()
    with Served(daemon).talk() as talk:
        target = upload if method == "PATCH" else f"{upload}?digest={digest_of(whole)}"
        talk.invited(method, target, {"Content-Length": len(last)})
        talk.send(last[:500_000])
        daemon.kill()
    offset = served.offset(upload) or 0
    if method == "PATCH":  # what had been staged of it stays
        assert len(first) <= offset <= len(first) + 500_000
    else:
        assert offset == len(first)
    rest = whole[offset:]
    assert served.ask("PUT", f"{upload}?digest={digest_of(whole)}", body=rest).status == 201
    assert served.holds(whole)
