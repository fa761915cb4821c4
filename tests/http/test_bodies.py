"""Bodies on their way in, over a socket: what the receive room hands to whoever reads it."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import LOOPS
from tests.http.room import LIMITS, Room, Taken
from tests.http.talk import LAST_CHUNK, Answer

if TYPE_CHECKING:
    from blobd.config import Limits

SMALL = b"small body"
LARGE = bytes(range(256)) * 1024
CHUNKED = {"Transfer-Encoding": "chunked"}


def holds(answer: Answer, data: bytes) -> bool:
    """Whether the room says that it took exactly these bytes."""
    facts = {"size": len(data), "sha256": sha256(data).hexdigest()}
    return answer.status == 200 and json.loads(answer.body) == facts


@pytest.mark.parametrize("size_bytes", [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 3_000_001])
def test_a_body_with_a_length_arrives_whole(room: Room, size_bytes: int) -> None:
    """Promise 1, on both sides of the size from which bodies bypass aiohttp."""
    data = (LARGE * 12)[:size_bytes]
    with room.talk() as talk:
        assert holds(talk.ask("PUT", "/x", body=data), data)


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 32 * 1024, 1 << 20])
def test_a_body_in_chunks_arrives_whole(room: Room, chunk_bytes: int) -> None:
    """Promise 1, for chunks smaller and larger than any buffer."""
    data = LARGE[:20_000] if chunk_bytes == 1 else LARGE * 5
    with room.talk() as talk:
        talk.head("PATCH", "/x", CHUNKED)
        pieces = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]
        talk.send(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
        talk.send(LAST_CHUNK)
        assert holds(talk.answer(), data)


def test_an_empty_body_in_chunks_is_empty(room: Room) -> None:
    """Promise 1: nothing is something that can be said."""
    with room.talk() as talk:
        talk.head("PUT", "/x", CHUNKED)
        talk.send(LAST_CHUNK)
        assert holds(talk.answer(), b"")


@pytest.mark.parametrize("buffer_bytes", [1, 7, 100])
def test_the_end_of_a_body_may_lie_anywhere_in_a_buffer(buffer_bytes: int) -> None:
    """Promise 1: framing cut by the ends of buffers is still framing."""
    for factory in LOOPS.values():
        with Room(factory, buffer_bytes=buffer_bytes) as room, room.talk() as talk:
            talk.head("PUT", "/x", CHUNKED)
            talk.chunk(b"0\r\n\r\n0\r\n\r\n")
            talk.chunk(b"abc")
            talk.send(b"0\r\nX-Trailer: 0\r\n\r\n")
            assert holds(talk.answer(), b"0\r\n\r\n0\r\n\r\nabc")


@pytest.mark.parametrize("pause_after", [1, 50, 100, 130])
def test_a_body_in_packets_of_any_size_arrives_whole(room: Room, pause_after: int) -> None:
    """Promise 1: where packets end says nothing."""
    head = b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head + b"".join([b"a\r\n0123456789\r\n"] * 10) + LAST_CHUNK
    with room.talk() as talk:
        for start in range(0, len(whole), pause_after):
            talk.send(whole[start : start + pause_after])
            time.sleep(0.001)  # so that the kernel keeps the packets apart
        assert holds(talk.answer(), b"0123456789" * 10)


def test_trailers_are_read_and_left_alone(room: Room) -> None:
    """RFC 9112 section 7.1.2."""
    with room.talk() as talk:
        talk.head("PUT", "/x", CHUNKED)
        talk.chunk(SMALL)
        talk.send(b"0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n")
        assert holds(talk.answer(), SMALL)


def test_what_follows_a_large_body_is_not_part_of_it(room: Room) -> None:
    """Promise 1: a request pipelined behind a body never becomes its content."""
    with room.talk() as talk:
        talk.head("PUT", "/x", {"Content-Length": len(LARGE)})
        talk.send(LARGE + b"GET /y HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = talk.answer()
        assert holds(answer, LARGE)
        assert answer.closes


def test_what_follows_a_body_in_chunks_is_not_part_of_it(room: Room) -> None:
    """Promise 1, where only the framing tells the end."""
    with room.talk() as talk:
        talk.head("PUT", "/x", CHUNKED)
        talk.send(b"5\r\nhello\r\n" + LAST_CHUNK + b"5\r\nworld\r\n" + LAST_CHUNK)
        assert holds(talk.answer(), b"hello")


@pytest.mark.parametrize("headers", [{"Content-Length": len(LARGE)}, CHUNKED])
def test_a_body_that_breaks_off_is_told_with_what_came(room: Room, headers: dict[str, str]) -> None:
    """Design section 7: what arrived before the break has arrived."""
    with room.talk() as talk:
        talk.head("PATCH", "/x", headers)
        talk.send(b"14\r\n" if headers is CHUNKED else b"")
        talk.send(b"x" * 20 + (b"\r\n" if headers is CHUNKED else b""))
    assert one_body(room) == Taken("/x", b"x" * 20, "BodyBroken")


def test_a_body_broken_off_by_a_reset_is_told(room: Room) -> None:
    """Design section 7: a killed client is a break too."""
    with room.talk() as talk:
        talk.head("PATCH", "/x", {"Content-Length": len(LARGE), "Expect": "100-continue"})
        assert talk.answer().status == 100
        talk.vanish()
    assert one_body(room).error == "BodyBroken"


def test_a_client_that_ends_only_its_own_side_reads_the_error(room: Room) -> None:
    """Design section 7: an early error is readable, and says how far the body came."""
    with room.talk() as talk:
        talk.head("PATCH", "/x", {"Content-Length": len(LARGE)})
        talk.send(b"x" * 20)
        talk.socket.shutdown(1)
        answer = talk.answer()
        assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")
        assert "after 20 bytes" in answer.message


@pytest.mark.parametrize("size_bytes", [1000, 100_000])
def test_a_body_that_falls_silent_is_answered_408(size_bytes: int) -> None:
    """Design section 7: body idle for `idle_timeout_s`."""
    for factory in LOOPS.values():
        with Room(factory, limits=replace(LIMITS, idle_timeout_s=0.3)) as room, room.talk() as talk:
            talk.head("PATCH", "/x", {"Content-Length": size_bytes})
            talk.send(b"x" * 20)
            answer = talk.answer()
            assert (answer.status, answer.code) == (408, "BLOB_UPLOAD_INVALID")
            assert talk.is_closed()
            assert room.bodies == [Taken("/x", b"x" * 20, "BodyIdle")]


@pytest.mark.parametrize("size_bytes", [1000, 100_000])
def test_the_body_is_invited_once_it_is_wanted(room: Room, size_bytes: int) -> None:
    """Design section 7: `Expect: 100-continue`."""
    with room.talk() as talk:
        talk.head("PUT", "/x", {"Content-Length": size_bytes, "Expect": "100-continue"})
        assert talk.answer().status == 100
        talk.send(LARGE[:size_bytes])
        assert holds(talk.answer(), LARGE[:size_bytes])


@pytest.mark.parametrize("size_bytes", [1000, 100_000])
def test_the_body_is_not_invited_when_it_is_refused(room: Room, size_bytes: int) -> None:
    """Design section 7: refused before any byte is read, `Expect: 100-continue` included."""
    with room.talk() as talk:
        talk.head("PUT", "/refused", {"Content-Length": size_bytes, "Expect": "100-continue"})
        answer = talk.answer()
        assert answer.status == 403
        assert answer.closes
        assert talk.is_closed()


@pytest.mark.parametrize("size_bytes", [1000, 60_000, 100_000, 60_000_000])
def test_an_early_error_is_read_by_a_client_that_goes_on_sending(
    room: Room, size_bytes: int
) -> None:
    """Design section 7: the client reads the error and not a reset."""
    with room.talk() as talk:
        talk.head("PUT", "/refused", {"Content-Length": size_bytes})
        answer = talk.answer()
        assert (answer.status, answer.body) == (403, b"refused")
        with talk.pouring(size_bytes) as pour:
            assert pour.is_taken(), "all that was announced is taken"


def test_a_refused_small_body_leaves_the_connection_usable(room: Room) -> None:
    """Design section 5: a small request must be cheap, a refused one too."""
    with room.talk() as talk:
        for _ in range(3):
            assert talk.ask("PUT", "/refused", body=SMALL).status == 403
        assert holds(talk.ask("PUT", "/x", body=SMALL), SMALL)


def test_a_refused_body_in_broken_chunks_is_answered_readably(room: Room) -> None:
    """Design section 7: the client reads the error and not a reset."""
    with room.talk() as talk:
        talk.head("PUT", "/x", CHUNKED)
        talk.send(b"5\r\nhello\r\nnonsense\r\n")
        with talk.pouring(30_000_000) as pour:
            answer = talk.answer()
            assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")
            assert pour.is_taken()
    assert room.bodies == [Taken("/x", b"", "BodyMalformed")]


@pytest.mark.parametrize("headers", [CHUNKED, {"Content-Length": 300_000_000}])
def test_the_refusal_is_there_after_all_of_a_long_body(
    room: Room, headers: dict[str, str | int]
) -> None:
    """Some proxies send all of a body before they read anything."""
    with room.talk() as talk:
        talk.head("PUT", "/refused", headers)
        chunk = b"40000\r\n" + bytes(0x40000) + b"\r\n" if headers is CHUNKED else bytes(300_000)
        for _ in range(1000):
            talk.send(chunk)
        if headers is CHUNKED:
            talk.send(LAST_CHUNK)
        assert talk.answer().status == 403
        assert talk.is_closed()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "limits",
    [replace(LIMITS, refused_drain_bytes=1_000_000), replace(LIMITS, refused_drain_s=0.05)],
    ids=["bytes", "time"],
)
def test_draining_a_refused_body_has_an_end(loop: str, limits: Limits) -> None:
    """Promise 7: `limits.refused_drain_bytes` and `limits.refused_drain_s`."""
    with Room(LOOPS[loop], limits) as room, room.talk() as talk:
        talk.head("PUT", "/refused", CHUNKED)
        with talk.pouring(1_000_000_000) as pour:
            assert talk.answer().status == 403
            assert not pour.is_taken()


@pytest.mark.parametrize("loop", LOOPS)
def test_only_so_many_are_drained_for_long(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: hostile clients cannot have more than a few bodies thrown away beyond 64 MiB."""
    monkeypatch.setattr("blobd.http.drain._LONG_DRAINS_MAX", 2)
    size_bytes = 80_000_000
    with Room(LOOPS[loop], LIMITS) as room, ExitStack() as stack:
        for _ in range(2):
            talk = stack.enter_context(room.talk())
            talk.head("PUT", "/refused", {"Content-Length": 2 * size_bytes})
            assert talk.answer().status == 403
            talk.send(bytes(size_bytes))  # and then nothing more, to keep its place
        with room.talk() as talk:
            talk.head("PUT", "/refused", {"Content-Length": 3 * size_bytes})
            with talk.pouring(3 * size_bytes) as pour:
                assert talk.answer().status == 403, "the answer is there all the same"
                assert not pour.is_taken()
        stack.close()
        with room.talk() as talk:  # the places are free again
            talk.head("PUT", "/refused", {"Content-Length": size_bytes})
            assert talk.answer().status == 403
            with talk.pouring(size_bytes) as pour:
                assert pour.is_taken()


@pytest.mark.parametrize("loop", LOOPS)
def test_an_account_has_its_share_of_long_drains(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """drain.py: a client that goes on after refusals leaves places to others."""
    monkeypatch.setattr("blobd.http.drain._LONG_DRAINS_MAX", 2)
    size_bytes = 80_000_000
    with Room(LOOPS[loop], LIMITS) as room, ExitStack() as stack:
        talks = [stack.enter_context(room.talk()) for _ in range(3)]
        for talk, account in zip(talks, ["greedy", "greedy", "modest"], strict=True):
            head = {"Content-Length": str(3 * size_bytes), "X-Account": account}
            talk.head("PUT", "/refused", head)
            assert talk.answer().status == 403
            if talk is talks[0]:
                talk.send(bytes(size_bytes))  # and then nothing more, to keep its place
                continue
            with talk.pouring(3 * size_bytes) as pour:
                assert pour.is_taken() == (account == "modest")


def one_body(room: Room) -> Taken:
    """Wait for the one body that the room took in."""
    deadline = time.monotonic() + 60
    while not room.bodies:
        assert time.monotonic() < deadline, "no body came out of the room"
        time.sleep(0.01)
    (taken,) = room.bodies
    return taken
