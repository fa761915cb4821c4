"""Blobs on their way out: by sendfile from files, in pieces from memory, the same bytes."""

from __future__ import annotations

import email
import email.policy
from typing import TYPE_CHECKING

import pytest

from tests.api.served import EMPTY, Served, digest_of, some_bytes, until
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.talk import Answer

SIZE_BYTES = 9_000_001
DATA = some_bytes(SIZE_BYTES)
ETAG = f'"{digest_of(DATA)}"'
BLOB = f"/blobs/{digest_of(DATA)}"
LARGE_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module", params=["filesystem", "memory"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A daemon that has DATA and nothing, the empty blob: on both ways out."""
    settings = {"store.backend": request.param, "store.durability": "none", "server.workers": "1"}
    with Daemon(tmp_path_factory.mktemp("blobd") / "data", settings=settings) as daemon:
        served = Served(daemon)
        served.store(DATA)
        assert served.ask("PUT", f"{served.start()}?digest={EMPTY}").status == 201
        yield served


def parts(answer: Answer) -> list[tuple[str, bytes]]:
    """Return each part's Content-Range and bytes, read as a mail reader would."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body, policy=email.policy.HTTP)
    assert not message.defects
    found = []
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((part["Content-Range"], payload))
    return found


def test_a_blob_is_sent_with_what_a_cache_needs(stored: Served) -> None:
    """Issue item 5: ETag, immutable caching, no Content-Encoding."""
    answer = stored.ask("GET", BLOB, {"Accept-Encoding": "gzip, deflate, br"})
    assert answer.status == 200
    assert answer.body == DATA
    assert answer.headers["ETag"] == ETAG
    assert answer.headers["Docker-Content-Digest"] == digest_of(DATA)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Content-Encoding" not in answer.headers


def test_head_tells_what_get_sends(stored: Served) -> None:
    """R14: the same headers, and no bytes; a Range changes nothing."""
    sent = stored.ask("GET", BLOB)
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": f"bytes={SIZE_BYTES}-"}):
        asked = stored.ask("HEAD", BLOB, headers)
        assert asked.status == 200
        for name in ("Server", "Content-Length", "Content-Type", "ETag", "Docker-Content-Digest"):
            assert asked.headers[name] == sent.headers[name]
    missing = stored.ask("HEAD", f"/blobs/{digest_of(b'never stored')}")
    assert missing.status == 404


def test_an_empty_blob_is_sent(stored: Served) -> None:
    """Promise 1, for nothing at all."""
    answer = stored.ask("GET", f"/blobs/{EMPTY}")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    assert stored.ask("HEAD", f"/blobs/{EMPTY}").headers["Content-Length"] == "0"
    for asked in ("bytes=0-", "bytes=0-0", "bytes=-5", "bytes=0-0,-1"):
        answer = stored.ask("GET", f"/blobs/{EMPTY}", {"Range": asked})
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=5000000-", 5_000_000, SIZE_BYTES),
        ("bytes=4194303-8388608", 4_194_303, 8_388_609),
        ("bytes=-1", SIZE_BYTES - 1, SIZE_BYTES),
        ("bytes=-5000000", SIZE_BYTES - 5_000_000, SIZE_BYTES),
        ("bytes=-999999999", 0, SIZE_BYTES),
        ("bytes=9000000-999999999", 9_000_000, SIZE_BYTES),
    ],
)
def test_a_range_is_sent(stored: Served, asked: str, start: int, stop: int) -> None:
    """Issue item 5: single, suffix and clipped ranges, to the byte."""
    answer = stored.ask("GET", BLOB, {"Range": asked})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE_BYTES}"
    assert answer.body == DATA[start:stop]


def test_several_ranges_are_sent_in_parts(stored: Served) -> None:
    """Issue item 5: multipart/byteranges, small and large, in the order asked for."""
    spans = [(8_000_000, 8_999_999), (0, 0), (100, 4_500_000), (SIZE_BYTES - 5, SIZE_BYTES - 1)]
    asked = ",".join(f"{first}-{last}" for first, last in spans[:-1]) + ",-5"
    answer = stored.ask("GET", BLOB, {"Range": f"bytes={asked}"})
    assert answer.status == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert "Content-Range" not in answer.headers
    assert parts(answer) == [
        (f"bytes {first}-{last}/{SIZE_BYTES}", DATA[first : last + 1]) for first, last in spans
    ]


@pytest.mark.parametrize("asked", ["bytes=x-y", "lines=1-2", "bytes=0-9000000,0-9000000", "0-9"])
def test_a_range_that_is_not_understood_is_ignored(stored: Served, asked: str) -> None:
    """RFC 9110 section 14.2: then all is sent."""
    answer = stored.ask("GET", BLOB, {"Range": asked})
    assert answer.status == 200
    assert answer.body == DATA


@pytest.mark.parametrize(
    "asked", [f"bytes={SIZE_BYTES}-", "bytes=-0", "bytes=999999999-9999999999"]
)
def test_a_range_outside_the_blob_is_416(stored: Served, asked: str) -> None:
    """Issue item 5: `Content-Range: bytes */N`."""
    answer = stored.ask("GET", BLOB, {"Range": asked})
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE_BYTES}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": f"W/{ETAG}"}, 304),
        ({"If-None-Match": f'"x", {ETAG}', "Range": "bytes=0-9"}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": f"W/{ETAG}"}, 412),
        ({"If-Range": ETAG, "Range": "bytes=0-9"}, 206),
        ({"If-Range": '"x"', "Range": "bytes=0-9"}, 200),
    ],
)
def test_validators_are_heeded(stored: Served, headers: dict[str, str], status: int) -> None:
    """Issue item 5: If-None-Match, If-Range, If-Match; HEAD as GET."""
    answer = stored.ask("GET", BLOB, headers)
    assert answer.status == status
    if status == 304:
        assert (answer.body, answer.headers["ETag"]) == (b"", ETAG)
    if "Range" not in headers:
        assert stored.ask("HEAD", BLOB, headers).status == status


def test_answers_follow_each_other_on_one_connection(stored: Served) -> None:
    """Promise 1: never a wrong length, so the next answer starts where it must."""
    with stored.talk() as talk:
        for headers in (
            {},
            {"Range": "bytes=0-9"},
            {"If-None-Match": ETAG},
            {"Range": "bytes=1-,-2"},
        ):
            talk.head("GET", BLOB, headers)
        assert [talk.answer().status for _ in range(4)] == [200, 206, 304, 200]
        for asked in ("bytes=0-0,5-5", "bytes=3-8000000,9-9"):
            answer = talk.ask("GET", BLOB, {"Range": asked})
            assert b"".join(piece for _, piece in parts(answer)) in {
                DATA[:1] + DATA[5:6],
                DATA[3:8_000_001] + DATA[9:10],
            }
        assert talk.ask("GET", BLOB).body == DATA


@pytest.fixture(scope="module")
def large(stored: Served) -> str:
    """A blob that no socket's buffers hold."""
    return stored.store(bytes(LARGE_BYTES))


def is_sending(served: Served) -> bool:
    return any("/blobs/" in path for path in served.daemon.open_files())


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_client_that_goes_away_stops_the_work(stored: Served, large: str, reset: bool) -> None:
    """Issue item 5: at once; descriptors and connections are as before."""
    before = stored.sockets()
    sent = stored.daemon.metric("blobd_sent_bytes_total")
    talks = [stored.talk(receive_bytes=16 * 1024) for _ in range(10)]
    for talk in talks:
        talk.head("GET", large)
        assert talk.answer_head().status == 200
        assert talk.read(100_000) == bytes(100_000)
    for talk in talks:
        if reset:
            talk.vanish()
        else:
            talk.close()
    until(lambda: not is_sending(stored), "files are closed")
    until(lambda: stored.sockets() <= before, "connections are closed")
    assert stored.daemon.metric("blobd_sent_bytes_total") - sent < len(talks) * LARGE_BYTES / 2


def test_clients_that_vanish_at_once_are_no_failures(stored: Served, large: str) -> None:
    """Promise 9: whenever it happens, it is the client's affair; the log stays free of traces."""
    before = stored.sockets()
    for number in range(100):
        with stored.talk() as talk:
            talk.head("GET", large if number % 2 else BLOB, {"Range": "bytes=0-5000000,1-2"})
            if number % 3 == 0:
                talk.vanish()
    until(lambda: not is_sending(stored), "files are closed")
    until(lambda: stored.sockets() <= before, "connections are closed")


def test_a_client_that_reads_slowly_gets_it_all_and_holds_nobody_up(
    stored: Served, large: str
) -> None:
    """Design section 5: no thread is held while a client is slow."""
    slow = [stored.talk(receive_bytes=16 * 1024) for _ in range(40)]
    for talk in slow:
        talk.head("GET", large)
        assert talk.answer_head().status == 200
    for _ in range(3):
        assert stored.ask("GET", BLOB).body == DATA
    first, *others = slow
    for talk in others:
        talk.close()
    left = LARGE_BYTES
    while left:
        left -= len(first.read(min(left, 1_000_000)))
    first.close()


def test_a_blob_being_read_outlives_its_removal(stored: Served) -> None:
    """Promise 2: a reader sees the whole blob, whatever happens to it meanwhile."""
    data = some_bytes(20_000_000)
    blob = stored.store(data)
    with stored.talk(receive_bytes=16 * 1024) as talk:
        talk.head("GET", blob)
        assert talk.answer_head().status == 200
        start = talk.read(1000)
        assert stored.ask("DELETE", blob).status == 202
        assert stored.store(data) == blob
        assert start + talk.read(len(data) - 1000) == data
