"""One connection: heads in pieces, requests in a row, and what a plain port must survive."""

from __future__ import annotations

import json
import socket
import ssl
import time
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import LOOPS
from tests.http.room import LIMITS, Room, Taken
from tests.http.talk import LAST_CHUNK

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGE = bytes(range(256)) * 1024
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_head_in_single_bytes_is_a_head(room: Room) -> None:
    """Promise 9: where packets end says nothing."""
    with room.talk() as talk:
        for position in range(len(GET)):
            talk.send(GET[position : position + 1])
            time.sleep(0.001)  # so that the kernel keeps the packets apart
        assert talk.answer().body == b"hello"


def test_a_head_with_many_ranges_and_a_large_token_is_a_head(room: Room) -> None:
    """1,024 ranges of ten digits, as containers/storage sends them, beside an Authorization."""
    ranges = ",".join(["1234567890-1234567899"] * 1024)
    headers = {"Range": f"bytes={ranges}", "Authorization": f"Bearer {'x' * 16000}"}
    with room.talk() as talk:
        for _ in range(2):
            assert talk.ask("GET", "/x", headers).body == b"hello"


def test_requests_in_one_packet_are_answered_in_order(room: Room) -> None:
    """RFC 9112 section 9.3.2: pipelining."""
    small = b"PUT /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    with room.talk() as talk:
        talk.send(b"".join(small % i + b"body%d" % i + GET for i in range(5)))
        for _ in range(5):
            assert json.loads(talk.answer().body)["size"] == 5
            assert talk.answer().body == b"hello"
    assert room.bodies == [Taken(f"/{i}", b"body%d" % i) for i in range(5)]


def test_more_requests_than_anyone_queues_are_answered(room: Room) -> None:
    """Promise 7: a long pipeline waits in the sockets, not in memory, and loses nothing."""
    with room.talk() as talk:
        talk.send(GET * 500)
        assert [talk.answer().body for _ in range(500)] == [b"hello"] * 500


def test_a_small_body_is_never_mixed_with_a_large_one_behind_it(room: Room) -> None:
    """Promise 6: bytes of one request are never another request's."""
    with room.talk() as talk:
        talk.send(
            b"PATCH /first HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst"
            b"PATCH /second HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE
        )
        assert talk.answer().status == 200
        assert json.loads(talk.answer().body)["sha256"] == sha256(LARGE).hexdigest()
    assert room.bodies == [Taken("/first", b"first"), Taken("/second", LARGE)]


def test_a_request_without_a_body_takes_none_of_the_next_one(room: Room) -> None:
    """Promise 6: bytes of one request are never another request's."""
    with room.talk() as talk:
        talk.send(GET + b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert talk.answer().body == b"hello"
        talk.chunk(LARGE)
        talk.send(LAST_CHUNK)
        assert json.loads(talk.answer().body)["size"] == len(LARGE)


def test_a_large_body_behind_a_busy_request_waits_in_the_socket(room: Room) -> None:
    """Promise 7: what nobody reads yet is not piled up in memory."""
    size_bytes = 64 * 1024 * 1024
    with room.talk() as talk:
        talk.head("GET", "/slow")
        talk.send(GET * 40)
        talk.head("PUT", "/x", {"Content-Length": size_bytes})
        with talk.pouring(size_bytes) as pour:
            assert pour.stalled_at_bytes() > size_bytes - 16 * 1024 * 1024
            room.open_gate()
            assert talk.answer().body == b"slow"
            for _ in range(40):
                assert talk.answer().body == b"hello"
            assert json.loads(talk.answer().body)["size"] == size_bytes
            assert pour.is_taken()


PUT = b"PUT /x HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
NOTHING = b"\r\n0\r\n\r\n"
MALFORMED = {
    "two lengths": PUT + LENGTH + b"Content-Length: 6\r\n\r\nhello",
    "a list of lengths": PUT + b"Content-Length: 5, 6\r\n\r\nhello",
    "length and chunks": PUT + LENGTH + CHUNKED + NOTHING,
    "chunks and length": PUT + CHUNKED + LENGTH + NOTHING,
    "space before the colon": PUT + b"Content-Length : 5\r\n\r\nhello",
    "space before chunked's colon": PUT + b"Transfer-Encoding : chunked\r\n" + NOTHING,
    "chunks, then something": PUT + b"Transfer-Encoding: chunked, identity\r\n" + NOTHING,
    "chunks twice": PUT + CHUNKED + CHUNKED + NOTHING,
    "another coding": PUT + b"Transfer-Encoding: gzip, chunked\r\n" + NOTHING,
    "an unknown coding": PUT + b"Transfer-Encoding: xchunked\r\n" + NOTHING,
    "a tab in chunked": PUT + b"Transfer-Encoding: \x0bchunked\r\n" + NOTHING,
    "a negative length": PUT + b"Content-Length: -5\r\n\r\nhello",
    "a length with a sign": PUT + b"Content-Length: +5\r\n\r\nhello",
    "a length in hex": PUT + b"Content-Length: 0x5\r\n\r\nhello",
    "a length beyond all numbers": PUT + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nhello",
    "a length on a folded line": PUT + b"X-A: b\r\n " + LENGTH + b"\r\nhello",
    "a header after a bare line feed": PUT + b"X-A: b\n" + CHUNKED + NOTHING,
    "a null byte": b"GET /x HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
    "another protocol": b"GET /x GOPHER/1.1\r\nHost: x\r\n\r\n",
    "no head at all": b"\x00\x01\x02\xff\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_head_with_two_meanings_is_refused(room: Room, kind: str) -> None:
    """Promise 6: no proxy and this server can disagree on where a request ends."""
    with room.talk() as talk:
        talk.send(MALFORMED[kind] + GET)
        answer = talk.answer()
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")
        assert answer.closes
        assert talk.is_closed(), "what follows is not a request"
    assert all(taken.error for taken in room.bodies)


def test_a_request_to_upgrade_is_answered_as_it_is(room: Room) -> None:
    """RFC 9110 section 7.8: `curl --http2` asks for h2c, and goes on without."""
    h2c = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    for protocol in (b"h2c", b"websocket"):
        with room.talk() as talk:
            talk.send(h2c % protocol)
            assert talk.answer().body == b"hello"
            talk.send(GET)
            assert talk.answer().body == b"hello"


def test_a_request_of_http_1_0_is_answered_and_closed(room: Room) -> None:
    """RFC 9112 section 9.3: ApacheBench and old probes speak it."""
    with room.talk() as talk:
        talk.send(b"GET /x HTTP/1.0\r\n\r\n")
        assert talk.answer().body == b"hello"
        assert talk.is_closed()


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)


def test_a_tls_hello_is_answered_in_plain_http(room: Room) -> None:
    """Design section 7: containerd goes on in HTTP only after an answer that begins so."""
    with room.talk() as talk:
        talk.send(HELLO)
        raw = talk.read(1 << 16)
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 400 Bad Request"
    assert {f"Content-Length: {len(body)}", "Connection: close"} <= set(lines)
    (error,) = json.loads(body)["errors"]
    assert (error["code"], "plain HTTP" in error["message"]) == ("UNSUPPORTED", True)


@pytest.mark.parametrize("stops", [(1,), (2, 3, 11), range(1, len(HELLO), 7)])
def test_a_tls_hello_in_pieces_is_answered_and_never_reset(
    room: Room, stops: Sequence[int]
) -> None:
    """Its first byte tells; what follows is taken in, so that the client can read the answer."""
    with room.talk() as talk:
        start = 0
        for stop in (*stops, len(HELLO)):
            talk.send(HELLO[start:stop])
            start = stop
            time.sleep(0.002)  # so that the kernel keeps the packets apart
        answer = talk.answer()
        assert (answer.status, answer.code, answer.closes) == (400, "UNSUPPORTED", True)
        assert talk.is_closed()


def test_a_client_that_goes_on_after_the_refusal_still_reads_it(room: Room) -> None:
    """RFC 9112 section 9.6: an early close resets, and a reset takes the answer along."""
    with room.talk() as talk:
        talk.send(HELLO)
        while not talk.has_answer():
            talk.send(bytes(1000))
        for _ in range(100):
            talk.send(bytes(10_000))
        assert talk.answer().status == 400
        assert talk.is_closed()


def test_a_client_that_never_ends_after_the_refusal_is_cut_off(room: Room) -> None:
    """Promise 7: lingering is bounded in bytes."""
    with room.talk() as talk:
        talk.send(HELLO)
        with talk.pouring(1 << 30) as pour:
            assert not pour.is_taken()


def test_python_speaking_tls_learns_of_it_at_once(room: Room) -> None:
    """A real TLS library reads the answer as what it is, and no reset."""
    host, port = room.address.split(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|HTTP_REQUEST"),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def test_a_byte_like_a_tls_hello_on_a_used_connection_is_no_hello(room: Room) -> None:
    """Promise 1: it never cuts into the answers to the requests before it."""
    with room.talk() as talk:
        talk.send(GET.replace(b"/x", b"/slow") + HELLO + b"\r\n\r\n")
        room.open_gate()
        assert talk.answer().body == b"slow"
        assert (talk.answer().status, talk.is_closed()) == (400, True)


SLOW = replace(LIMITS, head_timeout_s=0.8)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("start", [b"G", GET[:-1], b"GET /x HTTP/1.1\r\nX-Trickle: "])
def test_a_head_that_does_not_come_is_answered_408(loop: str, start: bytes) -> None:
    """Design section 7: request head not complete in time; trickling does not help."""
    with Room(LOOPS[loop], limits=SLOW) as room, room.talk() as talk:
        talk.send(start)
        answer = talk.answer()
        assert (answer.status, answer.code) == (408, "UNSUPPORTED")
        assert talk.is_closed()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_silent_connection_is_closed(loop: str) -> None:
    """Design section 7: a connection that asks nothing is not kept."""
    with Room(LOOPS[loop], limits=SLOW) as room, room.talk() as talk:
        assert talk.is_closed()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_head_is_waited_for_only_when_it_is_its_turn(loop: str) -> None:
    """Promise 1: half a head behind a running answer never cuts into that answer."""
    with Room(LOOPS[loop], limits=SLOW) as room, room.talk() as talk:
        talk.send(GET.replace(b"/x", b"/slow") + GET[:10])
        time.sleep(3 * SLOW.head_timeout_s)  # the time limit itself is what is tested
        room.open_gate()
        assert talk.answer().body == b"slow"
        talk.send(GET[10:])
        assert talk.answer().body == b"hello"


@pytest.mark.parametrize("loop", LOOPS)
def test_blank_lines_between_requests_mean_nothing(loop: str) -> None:
    """RFC 9112 section 2.2, and no reason to hang up on a running answer."""
    with Room(LOOPS[loop], limits=SLOW) as room, room.talk() as talk:
        talk.send(b"\r\n\r\n" + GET.replace(b"/x", b"/slow") + b"\r\n")
        time.sleep(3 * SLOW.head_timeout_s)  # the time limit itself is what is tested
        room.open_gate()
        assert talk.answer().body == b"slow"
        talk.send(GET)
        assert talk.answer().body == b"hello"


def test_clients_that_hang_up_at_any_point_leave_nothing(room: Room) -> None:
    """Promise 9: broken heads and bodies end with their connection; others go on."""
    request = b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + bytes(1000)
    for stop in range(0, len(request), 37):
        with room.talk() as talk:
            talk.send(request[:stop])
            if stop % 2:
                talk.vanish()
    with room.talk() as talk:
        assert talk.ask("GET", "/x").body == b"hello"
    assert all(taken.error == "BodyBroken" for taken in room.bodies)
