"""Clients that shut down their side after a request and wait for the answer."""

from __future__ import annotations

import json
import socket
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.http.talk import LAST_CHUNK

if TYPE_CHECKING:
    from tests.http.room import Room

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = GET.replace(b"/x", b"/slow")


def put(size_bytes: int) -> bytes:
    return b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size_bytes


CHUNKED = b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "small": (put(5) + b"hello", 5),
    "none": (put(0), 0),
    "large": (put(500_000) + bytes(500_000), 500_000),
    "chunked": (CHUNKED + b"5\r\nhello\r\n" + LAST_CHUNK, 5),
}


@pytest.mark.parametrize("request_", [GET, GET.replace(b"1.1", b"1.0"), SLOW])
def test_a_get_is_answered_and_the_connection_closed(room: Room, request_: bytes) -> None:
    """RFC 9112 section 9.6: the end of what a client sends is not the end of what it reads."""
    with room.talk() as talk:
        talk.send(request_)
        talk.socket.shutdown(socket.SHUT_WR)
        time.sleep(0.05)  # so that the end is seen while the request is at work
        room.open_gate()
        assert talk.answer().body in {b"hello", b"slow"}
        assert talk.is_closed()


@pytest.mark.parametrize("kind", BODIES)
def test_a_request_with_a_body_is_answered_and_the_connection_closed(room: Room, kind: str) -> None:
    """Small bodies, large ones and chunked ones alike."""
    request, size_bytes = BODIES[kind]
    with room.talk() as talk:
        talk.send(request)
        talk.socket.shutdown(socket.SHUT_WR)
        answer = talk.answer()
        assert json.loads(answer.body)["sha256"] == sha256(room.bodies[0].data).hexdigest()
        assert len(room.bodies[0].data) == size_bytes
        assert talk.is_closed()


def test_all_requests_in_a_row_are_answered(room: Room) -> None:
    """Pipelined requests before the end are requests too; half a head is none."""
    with room.talk() as talk:
        talk.send(SLOW + GET * 40 + put(5) + b"hello" + GET[:10])
        talk.socket.shutdown(socket.SHUT_WR)
        room.open_gate()
        assert talk.answer().body == b"slow"
        for _ in range(40):
            assert talk.answer().body == b"hello"
        assert json.loads(talk.answer().body)["size"] == 5
        assert talk.is_closed()


@pytest.mark.parametrize("request_", [put(50) + b"hello", put(500_000) + b"hello"])
def test_a_body_that_ends_too_early_is_answered(room: Room, request_: bytes) -> None:
    """Small or large: the client reads that its body broke off, and at once."""
    with room.talk() as talk:
        talk.send(request_)
        talk.socket.shutdown(socket.SHUT_WR)
        answer = talk.answer()
        assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")
        assert talk.is_closed()
    assert [(taken.data, taken.error) for taken in room.bodies] == [(b"hello", "BodyBroken")]


def test_a_connection_that_asked_nothing_is_closed_at_once(room: Room) -> None:
    """Nobody waits there."""
    for start in (b"", GET[:10]):
        with room.talk() as talk:
            talk.send(start)
            talk.socket.shutdown(socket.SHUT_WR)
            assert talk.is_closed()
    with room.talk() as talk:
        talk.send(GET)
        assert talk.answer().body == b"hello"
        talk.socket.shutdown(socket.SHUT_WR)
        assert talk.is_closed()
