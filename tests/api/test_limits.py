"""Every refusal of design section 7 that a request can meet, with others going on beside it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.api.served import EMPTY, Served, digest_of, some_bytes, upload_of
from tests.http.talk import LAST_CHUNK

if TYPE_CHECKING:
    from tests.http.talk import Answer

LIMIT_BYTES = 30_000_000
SETTINGS = {
    "limits.max_blob_bytes": str(LIMIT_BYTES),
    "limits.idle_timeout_s": "1",
    "limits.head_timeout_s": "1",
}
CHUNKED = {"Transfer-Encoding": "chunked"}
UNKNOWN = "/uploads/00000000000000000000000000000000"

pytestmark = pytest.mark.usefixtures("undisturbed")


def is_too_large(answer: Answer, size_bytes: int) -> bool:
    """Whether it is a 413 DENIED whose message names the limit and at least this size."""
    if (answer.status, answer.code) != (413, "DENIED"):
        return False
    numbers = [int(number) for number in re.findall(r"[0-9]{4,}", answer.message)]
    return LIMIT_BYTES in numbers and max(numbers) >= size_bytes


@pytest.mark.parametrize("query", [f"size={LIMIT_BYTES + 1}", f"digest={EMPTY}&size=9999999999999"])
def test_a_size_announced_at_the_start_is_refused(served: Served, query: str) -> None:
    """Promise 8: 413 before there is an upload."""
    answer = served.ask("POST", f"/uploads?{query}")
    assert is_too_large(answer, LIMIT_BYTES + 1)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("expects", [True, False], ids=["asking first", "sending at once"])
def test_an_announced_size_is_refused_before_a_byte_is_read(
    served: Served, method: str, expects: bool
) -> None:
    """Promise 8: 413 for a length over the limit; the upload stays as it was."""
    upload = served.start()
    target = {
        "POST": f"/uploads?digest={EMPTY}",
        "PATCH": upload,
        "PUT": f"{upload}?digest={EMPTY}",
    }[method]
    with served.talk() as talk:
        headers: dict[str, str | int] = {"Content-Length": LIMIT_BYTES + 1}
        talk.head(method, target, headers | ({"Expect": "100-continue"} if expects else {}))
        answer = talk.answer()
        assert is_too_large(answer, LIMIT_BYTES + 1)
        assert answer.closes
    assert served.offset(upload) == 0


def test_what_was_sent_before_counts(served: Served) -> None:
    """Promise 8: the limit is the blob's, not the request's."""
    upload = served.start()
    assert served.ask("PATCH", upload, body=bytes(LIMIT_BYTES)).status == 202
    answer = served.ask("PATCH", upload, body=b"x")
    assert is_too_large(answer, LIMIT_BYTES + 1)
    assert served.offset(upload) == LIMIT_BYTES
    whole = digest_of(bytes(LIMIT_BYTES))
    assert served.ask("PUT", f"{upload}?digest={whole}").status == 201, "the limit itself fits"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_chunks_beyond_the_limit_are_refused_to_the_byte(served: Served, method: str) -> None:
    """Promise 8: 413 where the size is not announced; the upload is gone, nothing is visible."""
    data = some_bytes(LIMIT_BYTES + 1)
    upload = served.start()
    target = f"{upload}?digest={digest_of(data)}" if method == "PUT" else upload
    with served.talk() as talk:
        talk.head(method, target, CHUNKED)
        talk.chunk(data[:LIMIT_BYTES])
        talk.chunk(data[LIMIT_BYTES:])
        answer = talk.answer()
    assert is_too_large(answer, LIMIT_BYTES + 1)
    assert served.offset(upload) is None
    assert not served.holds(data)


def test_chunks_up_to_the_limit_are_stored(served: Served) -> None:
    """Promise 8: the limit itself fits."""
    data = some_bytes(LIMIT_BYTES)
    upload = served.start()
    with served.talk() as talk:
        talk.head("PUT", f"{upload}?digest={digest_of(data)}", CHUNKED)
        talk.chunk(data)
        talk.send(LAST_CHUNK)
        assert talk.answer().status == 201
    assert served.holds(data)


def test_a_sender_of_64_mib_reads_the_early_error(served: Served) -> None:
    """Design section 7: an early error on a body still being sent is read, and not a reset."""
    for target in (UNKNOWN, f"{UNKNOWN}?digest={EMPTY}", "/nothing/here"):
        with served.talk() as talk:
            size_bytes = 64 * 1024 * 1024 if "?" in target else 20_000_000
            talk.head("PUT" if "?" in target else "PATCH", target, {"Content-Length": size_bytes})
            with talk.pouring(size_bytes) as pour:
                answer = talk.answer()
                assert (answer.status, answer.closes) == (404, True)
                assert pour.is_taken()


def test_a_sender_over_the_limit_reads_the_error(served: Served) -> None:
    """Design section 7, for the error that docker must understand at once."""
    for headers in ({"Content-Length": 60_000_000}, CHUNKED):
        upload = served.start()
        with served.talk() as talk:
            talk.head("PATCH", upload, headers)
            if headers is CHUNKED:
                talk.send(b"3938700\r\n")
            with talk.pouring(60_000_000) as pour:
                assert is_too_large(talk.answer(), LIMIT_BYTES + 1)
                assert pour.is_taken()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "upload_id", ["0" * 32, "x", "..", "%2e%2e", "0" * 31 + "G", "..%2fblobs", "%00", "0" * 400]
)
def test_an_unknown_upload_is_404(served: Served, method: str, upload_id: str) -> None:
    """Design section 7: BLOB_UPLOAD_UNKNOWN, whatever is tried as an id."""
    target = f"/uploads/{upload_id}"
    if method == "PUT":
        target += f"?digest={EMPTY}"
    answer = served.ask(method, target, body=b"abc" if method in {"PUT", "PATCH"} else None)
    assert answer.status == 404
    if method != "HEAD" and not upload_id.startswith(("..", "%2e")):
        assert answer.code == "BLOB_UPLOAD_UNKNOWN"


MALFORMED_DIGESTS = [
    "",
    "sha256",
    "sha256:",
    "sha256:abc",
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "sha256:" + "a" * 65,
    "SHA256:" + "a" * 64,
    "sha512:" + "a" * 64,
    "sha256:../../../etc/passwd",
    "sha256:" + "a" * 61 + "%2f..",
    "sha256:" + "a" * 62 + "%00a",
    "../../../etc/passwd",
    "a" * 300 + ":" + "b" * 300,
]


@pytest.mark.parametrize("digest", MALFORMED_DIGESTS)
def test_a_malformed_digest_is_400(served: Served, digest: str) -> None:
    """Design section 7: DIGEST_INVALID, path traversal included; the upload is unchanged."""
    upload = served.start()
    for method, target in (
        ("PUT", f"{upload}?digest={digest}"),
        ("POST", f"/uploads?digest={digest}"),
    ):
        answer = served.ask(method, target, body=b"abc")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert served.offset(upload) == 0
    if digest and "/" not in digest and "%2f" not in digest:
        for method in ("GET", "HEAD", "DELETE"):
            answer = served.ask(method, f"/blobs/{digest}")
            assert answer.status == 400
            assert method == "HEAD" or answer.code == "DIGEST_INVALID"


def test_an_unsupported_algorithm_is_400(served: Served) -> None:
    """Design section 7: DIGEST_INVALID, at POST where announced."""
    upload = served.start()
    md5 = "md5:900150983cd24fb0d6963f7d28e17f72"
    for method, target in (
        ("POST", f"/uploads?digest={md5}"),
        ("POST", "/uploads?digest-algorithm=md5"),
        ("POST", "/uploads?digest-algorithm="),
        ("PUT", f"{upload}?digest={md5}"),
    ):
        answer = served.ask(method, target, body=b"abc")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
        assert served.ask(method, target).code == "DIGEST_INVALID"
    assert served.offset(upload) == 0
    assert served.ask("GET", f"/blobs/{md5}").code == "BLOB_UNKNOWN"


def test_a_put_without_a_digest_is_400(served: Served) -> None:
    """R37: the digest is what a PUT is about; the upload is unchanged."""
    upload = served.start()
    answer = served.ask("PUT", upload, body=b"abc")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert served.offset(upload) == 0


@pytest.mark.parametrize("size_bytes", [3, 200_000])
def test_a_wrong_digest_undoes_the_body_of_a_put(served: Served, size_bytes: int) -> None:
    """Design section 7: DIGEST_INVALID, and the same PUT with the right digest succeeds."""
    first, last = some_bytes(100), some_bytes(size_bytes)
    upload = served.start()
    assert served.ask("PATCH", upload, body=first).status == 202
    answer = served.ask("PUT", f"{upload}?digest={EMPTY}", body=last)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert served.offset(upload) == len(first)
    whole = first + last
    assert not served.holds(whole)
    assert served.ask("PUT", f"{upload}?digest={digest_of(whole)}", body=last).status == 201
    assert served.holds(whole)


def test_a_wrong_digest_without_a_body_ends_the_upload(served: Served) -> None:
    """Design section 7: there is nothing to undo, and nothing visible."""
    data = some_bytes(1000)
    upload = served.start()
    assert served.ask("PATCH", upload, body=data).status == 202
    answer = served.ask("PUT", f"{upload}?digest={EMPTY}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert served.offset(upload) is None
    assert not served.holds(data)


def test_a_wrong_digest_at_a_single_post_leaves_nothing(served: Served) -> None:
    """Promise 9: the upload behind a single POST is gone with it."""
    uploads = served.ask("GET", "/uploads").body.count(b'"id"')
    answer = served.ask("POST", f"/uploads?digest={EMPTY}", body=some_bytes(100_000))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert served.ask("GET", "/uploads").body.count(b'"id"') == uploads


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "content_range",
    ["1-100", "99-198", "101-200", "0-99", "9999999999999999999-9999999999999999999"],
)
def test_a_chunk_out_of_order_is_416(served: Served, method: str, content_range: str) -> None:
    """Design section 7: Location, Range, Docker-Upload-UUID; the upload lives on unchanged."""
    data = some_bytes(100)
    upload = served.start()
    assert served.ask("PATCH", upload, body=data).status == 202
    first, last = map(int, content_range.split("-"))
    body = bytes(last - first + 1)
    target = upload if method == "PATCH" else f"{upload}?digest={EMPTY}"
    answer = served.ask(method, target, {"Content-Range": content_range}, body)
    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    assert upload_of(answer) == upload
    assert answer.headers["Range"] == "0-99"
    assert answer.headers["Docker-Upload-UUID"] == upload.rpartition("/")[2]
    assert served.offset(upload) == 100
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "text", ["", "x", "9-0", "-1-5", "0-", "0x0-0x5", "bytes */5", "1e3-2e3", "\xff"]
)
def test_a_content_range_that_cannot_be_read_is_416(served: Served, method: str, text: str) -> None:
    """Design section 7: as one that does not fit, with what is needed to go on."""
    upload = served.start()
    target = upload if method == "PATCH" else f"{upload}?digest={EMPTY}"
    answer = served.ask(method, target, {"Content-Range": text}, b"abc")
    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    assert (answer.location, answer.headers.get("Range")) == (f"{upload}.0", None)
    assert served.offset(upload) == 0


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("told_bytes", [1, 99_999, 100_001])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with a length"])
def test_a_body_that_contradicts_its_range_is_undone(
    served: Served, method: str, told_bytes: int, chunked: bool
) -> None:
    """Design section 7: 400 SIZE_INVALID, shorter or longer; that request is undone."""
    first, data = some_bytes(10), some_bytes(100_000)
    upload = served.start()
    assert served.ask("PATCH", upload, body=first).status == 202
    target = upload if method == "PATCH" else f"{upload}?digest={digest_of(first + data)}"
    headers: dict[str, str | int] = {"Content-Range": f"10-{10 + told_bytes - 1}"}
    with served.talk() as talk:
        if chunked:
            talk.head(method, target, headers | CHUNKED)
            talk.chunk(data)
            talk.send(LAST_CHUNK)
        else:
            talk.head(method, target, headers | {"Content-Length": len(data)})
            talk.send(data)
        answer = talk.answer()
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert served.offset(upload) == len(first)
    assert not served.holds(first + data)


@pytest.mark.parametrize("headers", [{"Content-Length": 200_000}, {"Content-Length": 500}, CHUNKED])
def test_a_patch_that_falls_silent_is_408_and_keeps_what_came(
    served: Served, headers: dict[str, str | int]
) -> None:
    """Design section 7: body idle for `idle_timeout_s`."""
    upload = served.start()
    with served.talk() as talk:
        talk.head("PATCH", upload, headers)
        talk.send(b"64\r\n" if headers is CHUNKED else b"")
        talk.send(bytes(100))
        answer = talk.answer()
        assert (answer.status, answer.code) == (408, "BLOB_UPLOAD_INVALID")
        assert answer.closes
    assert served.offset(upload) == 100


def test_a_put_that_falls_silent_is_408_and_undone(served: Served) -> None:
    """Design section 7: a PUT is whole or was not."""
    upload = served.start()
    with served.talk() as talk:
        talk.head("PUT", f"{upload}?digest={EMPTY}", {"Content-Length": 200_000})
        talk.send(bytes(100_000))
        assert talk.answer().status == 408
    assert served.offset(upload) == 0


def test_a_head_that_trickles_is_408(served: Served) -> None:
    """Issue item 9: slow loris."""
    with served.talk() as talk:
        talk.send(b"PATCH /uploads/0 HTTP/1.1\r\nX-Slow: y")
        answer = talk.answer()
        assert (answer.status, answer.code) == (408, "UNSUPPORTED")
        assert talk.is_closed()


def test_many_slow_heads_hold_nobody_up(served: Served) -> None:
    """Issue item 9: two hundred of them, and others are served meanwhile."""
    with ExitStack() as stack:
        talks = []
        for _ in range(200):
            talk = stack.enter_context(served.talk())
            talk.send(b"GET /blobs HTTP/1.1\r\nHost:")  # at once: a silent one is hung up on
            talks.append(talk)
        assert served.ask("GET", "/healthz").status == 200
        for talk in talks:
            assert talk.answer().status == 408


def test_a_tls_hello_is_answered_in_plain_http(served: Served) -> None:
    """Design section 7: containerd needs an answer; docker, podman and skopeo lose no time."""
    with served.talk() as talk:
        talk.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        answer = talk.answer()
        assert (answer.status, answer.code, answer.closes) == (400, "UNSUPPORTED", True)
        assert talk.is_closed()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_body_where_none_belongs_is_refused_readably(served: Served, method: str) -> None:
    """Issue item 9: no request leaves bytes behind that the next one would start with."""
    with served.talk() as talk:
        talk.head(method, "/blobs/" + EMPTY, {"Content-Length": 1_000_000})
        with talk.pouring(1_000_000) as pour:
            assert talk.answer().status == 400
            assert pour.is_taken()
