"""Heads that are refused: over a limit, malformed, or asking for what cannot be had."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from blobd.http.headers import STANDARD
from tests.daemon import Daemon
from tests.http.talk import LAST_CHUNK, Talk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.room import Room

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /x HTTP/1.%d\r\nHost: x\r\n"
HEAD_BYTES = 64 * 1024
LINE_BYTES = 16 * 1024

TOO_LARGE = {
    "one header": (431, b"GET /x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * HEAD_BYTES + b"\r\n\r\n"),
    "all headers": (
        431,
        b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"X: %b\r\n" % (b"y" * 999) * 80 + b"\r\n",
    ),
    "number of headers": (431, b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 128 + b"\r\n"),
    "endless headers": (431, b"GET /x HTTP/1.1\r\n" + b"X-Long: y\r\n" * 100_000),
    "target": (414, b"GET /" + b"y" * LINE_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "no line": (414, b"x" * 1_000_000),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_head_over_a_limit_is_refused_readably(room: Room, kind: str) -> None:
    """RFC 6585 section 5, RFC 9110 section 15.5.15; promise 7: a head takes bounded memory."""
    status, head = TOO_LARGE[kind]
    with room.talk() as talk:
        talk.send(head + GET)
        answer = talk.answer()
        assert (answer.status, answer.code, answer.closes) == (status, "UNSUPPORTED", True)
        assert talk.is_closed(), "what follows is not a request"
    assert room.bodies == []


@pytest.mark.parametrize(
    "sent", [TOO_LARGE["target"][1], b"G\0T / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
def test_a_refused_head_is_answered_with_the_headers_of_every_answer(
    room: Room, sent: bytes
) -> None:
    """What is refused before any handler names no library and its version either."""
    with room.talk() as talk:
        talk.send(sent)
        headers = talk.answer().headers
    assert {name: headers[name] for name in STANDARD} == STANDARD


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (HEAD_BYTES - 40) + b"\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 127 + b"\r\n",
        b"GET /" + b"y" * (LINE_BYTES - 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["header", "number of headers", "target"],
)
def test_a_head_just_within_the_limits_is_a_head(room: Room, head: bytes) -> None:
    """Both parsers agree on where the limits are: nothing is 400 that is only long."""
    with room.talk() as talk:
        talk.send(head)
        assert talk.answer().body == b"hello"


def test_a_head_over_a_limit_waits_for_its_turn(room: Room) -> None:
    """Promise 1: it never cuts into the answers to the requests before it."""
    with room.talk() as talk:
        talk.send(GET.replace(b"/x", b"/slow") + GET + TOO_LARGE["one header"][1])
        room.open_gate()
        assert talk.answer().body == b"slow"
        assert talk.answer().body == b"hello"
        assert (talk.answer().status, talk.is_closed()) == (431, True)


SECRET = b"cHJpdmF0ZTpodW50ZXIy"
AUTHORIZATION = b"Authorization: Basic " + SECRET
MALFORMED = {
    "header over the limit": GET[:-2] + AUTHORIZATION * 5000 + b"\r\n\r\n",
    "head over the limit": GET[:-2] + AUTHORIZATION + b"\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "a control character": GET[:-2] + AUTHORIZATION + b"\x01\r\n\r\n",
    "a null byte": GET[:-2] + AUTHORIZATION + b"\x00\r\n\r\n",
    "a bare carriage return": GET[:-2] + AUTHORIZATION + b"\rX: y\r\n\r\n",
    "a bare line feed": GET[:-2] + AUTHORIZATION + b"\nX: y\r\n\r\n",
    "no colon": GET[:-2] + AUTHORIZATION.replace(b":", b"") + b"\r\n\r\n",
    "a space before the colon": GET[:-2] + AUTHORIZATION.replace(b":", b" :") + b"\r\n\r\n",
    "a folded line": GET[:-2] + AUTHORIZATION + b"\r\n more\r\n\r\n",
    "two of them": GET[:-2] + (AUTHORIZATION + b"\r\n") * 2 + b"\r\n",
    "on the first line": AUTHORIZATION + b"\r\n" + GET,
    "in place of the method": SECRET + b" " + GET,
    "in place of the version": b"GET /x " + SECRET + b"\r\n\r\n",
    "in the target": b"GET http://private:" + SECRET + b"@[x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "as a length": PUT % 1 + b"Content-Length: " + SECRET + b"\r\n\r\n",
    "as a coding": PUT % 1 + b"Transfer-Encoding: " + SECRET + b"\r\n\r\n",
    "as an expectation": PUT % 1 + b"Expect: " + SECRET + b"\r\nContent-Length: 5\r\n\r\nhello",
    "after a bad header": GET[:-2] + b"X\x00: y\r\n" + AUTHORIZATION + b"\r\n\r\n",
}


CREDENTIALS = [
    AUTHORIZATION,
    b"Authorization: Basic " + SECRET[:-3],
    b"Authorization: Basic !" + SECRET,
    b"Authorization: Bearer " + SECRET,
    b"Authorization: Bearer " + SECRET + b"." + SECRET + b"." + SECRET,
    b"Authorization: Negotiate " + SECRET,
    b"Authorization: " + SECRET,
]


def quoted(text: str) -> list[str]:
    """Return the pieces of the secret that stand in a text."""
    secret = SECRET.decode()
    return [secret[i : i + 5] for i in range(len(secret) - 4) if secret[i : i + 5] in text]


@pytest.mark.parametrize("kind", MALFORMED)
def test_no_answer_or_log_quotes_a_head(
    room: Room, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Credentials are in heads: not a byte of one goes to a log or to whoever sits in between."""
    caplog.set_level("DEBUG")
    with room.talk() as talk:
        talk.send(MALFORMED[kind])
        answer = talk.answer()
        if answer.body != b"hello":
            assert answer.status in {400, 414, 417, 431}
            assert answer.code == "UNSUPPORTED"
            assert answer.closes
    said = f"{answer.headers.as_string()}{answer.body!r}{caplog.text}{capfd.readouterr()}"
    assert quoted(said) == []


def test_a_malformed_head_is_told_what_is_wrong_with_it(room: Room) -> None:
    """Without its bytes, but in words."""
    with room.talk() as talk:
        talk.send(PUT % 1 + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert "Transfer-Encoding can't be present with Content-Length" in talk.answer().message


@pytest.mark.parametrize("size_bytes", [5, 500_000])
@pytest.mark.parametrize("expect", ["200-ok", "100-continue, tea", '"100-continue"', "100"])
def test_an_unknown_expectation_is_417(room: Room, expect: str, size_bytes: int) -> None:
    """RFC 9110 section 10.1.1; and no body is invited."""
    with room.talk() as talk:
        talk.head("PUT", "/x", {"Content-Length": size_bytes, "Expect": expect})
        answer = talk.answer()
        assert (answer.status, answer.code, answer.closes) == (417, "UNSUPPORTED", True)
        talk.send(bytes(size_bytes))
        assert talk.is_closed()
    assert room.bodies == []


@pytest.mark.parametrize("size_bytes", [5, 500_000])
@pytest.mark.parametrize(
    "expect", ["100-Continue", " 100-continue ,", "100-continue, 100-continue"]
)
def test_the_known_expectation_in_every_spelling(room: Room, expect: str, size_bytes: int) -> None:
    """RFC 9110 section 10.1.1: a list, and case-insensitive."""
    with room.talk() as talk:
        talk.head("PUT", "/x", {"Content-Length": size_bytes, "Expect": expect})
        assert talk.answer().status == 100
        talk.send(bytes(size_bytes))
        assert json.loads(talk.answer().body)["size"] == size_bytes


@pytest.mark.parametrize("size_bytes", [5, 500_000])
@pytest.mark.parametrize("expect", [b"100-continue", b"tea"])
def test_http_1_0_expects_nothing(room: Room, size_bytes: int, expect: bytes) -> None:
    """RFC 9110 section 10.1.1: a server must not send a 100 to a client of HTTP/1.0."""
    with room.talk() as talk:
        talk.send(PUT % 0 + b"Expect: %b\r\nContent-Length: %d\r\n\r\n" % (expect, size_bytes))
        talk.send(bytes(size_bytes))
        answer = talk.answer()
        assert answer.status == 200
        assert json.loads(answer.body)["size"] == size_bytes
        assert talk.is_closed()


def test_http_1_0_in_chunks_is_refused(room: Room) -> None:
    """RFC 9112 section 6.1: the framing is faulty; a proxy may see another end than we do."""
    with room.talk() as talk:
        talk.send(PUT % 0 + b"Transfer-Encoding: chunked\r\n\r\n")
        talk.chunk(bytes(100_000))
        talk.send(LAST_CHUNK + GET)
        answer = talk.answer()
        assert (answer.status, answer.code, answer.closes) == (400, "UNSUPPORTED", True)
        assert talk.is_closed()
    assert room.bodies == []


def test_a_daemon_writes_no_credential_to_its_log(tmp_path: Path) -> None:
    """Both fronts, at the most talkative level, for malformed heads and malformed credentials."""
    settings = {"log.level": "debug", "registry.auth": "true", "blob_api.tokens": "open sesame"}
    sent = [*MALFORMED.values(), *(GET[:-2] + line + b"\r\n\r\n" for line in CREDENTIALS)]
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        for url in (daemon.registry_url, daemon.blob_api_url):
            for head in sent:
                for path in (b"/x", b"/v2/", b"/token", b"/blobs"):
                    with Talk(url.removeprefix("http://")) as talk:
                        talk.send(head.replace(b"/x", path))
                        answer = talk.answer()
                        assert quoted(answer.headers.as_string() + repr(answer.body)) == []
    assert "debug" in daemon.stderr.lower()
    assert quoted(daemon.stderr) == []
