"""Connections that break off in the middle of a body, and clients that come back."""

from __future__ import annotations

import pytest

from tests.api.served import Served, digest_of, some_bytes, until
from tests.http.talk import LAST_CHUNK

pytestmark = pytest.mark.usefixtures("undisturbed")

CHUNKED = {"Transfer-Encoding": "chunked"}


def broken_off(
    served: Served,
    method: str,
    target: str,
    data: bytes,
    *,
    arrived_bytes: int,
    chunked: bool,
    reset: bool,
) -> None:
    """Send a part of a body and hang up; return once the server has noticed."""
    with served.talk() as talk:
        talk.invited(method, target, CHUNKED if chunked else {"Content-Length": len(data)})
        if chunked:
            talk.chunk(data[:arrived_bytes])
        else:
            talk.send(data[:arrived_bytes])
        if reset:
            talk.vanish()
    upload, _, _ = target.partition("?")
    until(lambda: not served.has_writer(upload), "the break is noticed")


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("arrived_bytes", [1, 50_000, 3_333_333])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with a length"])
def test_a_patch_that_breaks_off_keeps_what_arrived(
    served: Served, arrived_bytes: int, reset: bool, chunked: bool
) -> None:
    """Design section 7: GET tells the exact offset, and the upload goes on from there."""
    data = some_bytes(4_000_000)
    upload = served.start()
    broken_off(
        served, "PATCH", upload, data, arrived_bytes=arrived_bytes, chunked=chunked, reset=reset
    )
    offset = served.offset(upload)
    assert offset is not None
    if reset:
        assert offset <= arrived_bytes, "a reset may overtake bytes on their way"
    else:
        assert offset == arrived_bytes
    rest = {"Content-Range": f"{offset}-{len(data) - 1}"}
    reread = served.daemon.metric("blobd_reread_bytes_total")
    assert served.ask("PATCH", upload, rest, data[offset:]).status == 202
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    assert served.holds(data)
    assert served.daemon.metric("blobd_reread_bytes_total") == reread, "promise 5: no re-reading"


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("arrived_bytes", [1, 50_000, 3_333_333])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with a length"])
def test_a_put_that_breaks_off_goes_back(
    served: Served, arrived_bytes: int, reset: bool, chunked: bool
) -> None:
    """Design section 7: where it stood before that PUT; oras repeats the whole PUT."""
    first, last = some_bytes(100_000), some_bytes(4_000_000)
    upload = served.start()
    target = f"{upload}?digest={digest_of(first + last)}"
    assert served.ask("PATCH", upload, body=first).status == 202
    for _ in range(2):
        broken_off(
            served, "PUT", target, last, arrived_bytes=arrived_bytes, chunked=chunked, reset=reset
        )
        assert served.offset(upload) == len(first)
    assert served.ask("PUT", target, body=last).status == 201
    assert served.holds(first + last)


def test_a_put_that_breaks_off_may_be_repeated_at_once(served: Served) -> None:
    """Promise 6: whoever comes back needs not wait for the dead connection to be noticed."""
    data = some_bytes(2_000_000)
    upload = served.start()
    target = f"{upload}?digest={digest_of(data)}"
    with served.talk() as dead:
        dead.invited("PUT", target, {"Content-Length": len(data)})
        dead.send(data[:1_000_000])
        assert served.ask("PUT", target, body=data).status == 201
    assert served.holds(data)


def test_a_single_post_that_breaks_off_leaves_nothing(served: Served) -> None:
    """Promise 9: nobody knows the upload behind a single POST, so nobody could go on."""
    data = some_bytes(2_000_000)
    before = served.ask("GET", "/uploads").body.count(b'"id"')
    with served.talk() as talk:
        talk.invited("POST", f"/uploads?digest={digest_of(data)}", {"Content-Length": len(data)})
        talk.send(data[:1_000_000])
    until(lambda: served.ask("GET", "/uploads").body.count(b'"id"') == before, "the upload is gone")
    assert not served.holds(data)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("ending", [b"nonsense\r\n", b"-1\r\n", b"5\r\nhelloo\r\n"])
def test_a_body_in_broken_chunks_is_400(served: Served, method: str, ending: bytes) -> None:
    """Promise 1: what cannot be read never becomes content; the upload can go on."""
    data = some_bytes(100_000)
    upload = served.start()
    target = upload if method == "PATCH" else f"{upload}?digest={digest_of(data)}"
    with served.talk() as talk:
        talk.head(method, target, CHUNKED)
        talk.chunk(data)
        talk.send(ending + LAST_CHUNK)
        answer = talk.answer()
        assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")
    offset = served.offset(upload)
    assert offset is not None
    assert offset <= len(data) if method == "PATCH" else offset == 0
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}", body=data[offset:]).status == 201


def test_a_client_that_breaks_off_again_and_again_gets_there(served: Served) -> None:
    """Promise 5: every byte that was acknowledged counts, over any number of connections."""
    data = some_bytes(3_000_000)
    upload = served.start()
    breaks = 0
    while (offset := served.offset(upload) or 0) < len(data):
        broken_off(
            served, "PATCH", upload, data[offset:], arrived_bytes=400_000, chunked=True, reset=False
        )
        breaks += 1
    assert breaks == 8
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201


def test_clients_that_vanish_in_crowds_leave_nothing(served: Served) -> None:
    """Promise 9: no descriptor, no buffer, no upload that nobody could take on again."""
    uploads = [served.start() for _ in range(40)]
    talks = [served.talk() for _ in uploads]
    for talk, upload in zip(talks, uploads, strict=True):
        talk.head("PATCH", upload, {"Content-Length": 1_000_000})
        talk.send(bytes(70_000))
    for talk in talks:
        talk.vanish()
    until(lambda: not any(map(served.has_writer, uploads)), "the breaks are noticed")
    for upload in uploads:
        assert served.ask("DELETE", upload).status == 204
