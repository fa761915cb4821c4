"""The upload protocol in all the ways that clients use it, and what each way leaves behind."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import blake3
import pytest

from tests.api.served import EMPTY, Served, answer_json, digest_of, some_bytes, upload_of
from tests.http.talk import LAST_CHUNK

if TYPE_CHECKING:
    from tests.http.talk import Talk

pytestmark = pytest.mark.usefixtures("tidy")

SIZES = [0, 1, 5_000, 3_000_000]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_one_post_stores_a_blob(served: Served, size_bytes: int) -> None:
    """Distribution-spec end-4b."""
    data = some_bytes(size_bytes)
    answer = served.ask("POST", f"/uploads?digest={digest_of(data)}", body=data)
    assert answer.status == 201
    assert answer.location == f"/blobs/{digest_of(data)}"
    assert answer.headers["Docker-Content-Digest"] == digest_of(data)
    assert served.holds(data)


NOTHING = {
    "sha256": hashlib.sha256().hexdigest(),
    "sha512": hashlib.sha512().hexdigest(),
    "blake3": blake3.blake3().hexdigest(),
}


@pytest.mark.parametrize("algorithm", NOTHING)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Length": 0}, {"Transfer-Encoding": "chunked"}],
    ids=["no body", "length 0", "chunked"],
)
def test_one_post_stores_the_empty_blob(
    served: Served, algorithm: str, headers: dict[str, str | int]
) -> None:
    """Distribution-spec end-4b: what `curl -T` sends of an empty file, among others."""
    digest = f"{algorithm}:{NOTHING[algorithm]}"
    with served.talk() as talk:
        talk.head("POST", f"/uploads?digest={digest}", headers)
        if "Transfer-Encoding" in headers:
            talk.send(LAST_CHUNK)
        answer = talk.answer()
    assert (answer.status, answer.location) == (201, f"/blobs/{digest}")
    assert answer.headers["Docker-Content-Digest"] == digest
    assert served.ask("GET", f"/blobs/{digest}").body == b""
    assert served.ask("DELETE", f"/blobs/{digest}").status == 202
    assert answer_json(served.ask("GET", "/uploads"))["uploads"] == []


@pytest.mark.parametrize("algorithm", NOTHING)
@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}], ids=["no body", "length 0"])
def test_a_post_without_a_body_opens_a_session_for_any_other_digest(
    served: Served, algorithm: str, headers: dict[str, str]
) -> None:
    """R29: `digest=` then announces the algorithm."""
    digest = f"{algorithm}:{'1' * len(NOTHING[algorithm])}"
    answer = served.ask("POST", f"/uploads?digest={digest}", headers)
    assert (answer.status, answer.headers["Range"]) == (202, "0-0")
    (upload,) = answer_json(served.ask("GET", "/uploads"))["uploads"]
    assert upload["algorithm"] == algorithm
    assert served.ask("DELETE", answer.location).status == 204


@pytest.mark.parametrize("size_bytes", SIZES)
def test_post_then_put_stores_a_blob(served: Served, size_bytes: int) -> None:
    """Distribution-spec end-4a and end-6: what containerd, buildkit and oras send."""
    data = some_bytes(size_bytes)
    upload = served.start()
    answer = served.ask("PUT", f"{upload}?digest={digest_of(data)}", body=data)
    assert (answer.status, answer.location) == (201, f"/blobs/{digest_of(data)}")
    assert served.holds(data)
    assert served.offset(upload) is None


@pytest.mark.parametrize("size_bytes", SIZES)
def test_one_patch_in_chunks_stores_a_blob(served: Served, size_bytes: int) -> None:
    """Distribution-spec end-5: what docker sends."""
    data = some_bytes(size_bytes)
    upload = served.start()
    with served.talk() as talk:
        talk.head("PATCH", upload, {"Transfer-Encoding": "chunked"})
        for start in range(0, len(data), 32 * 1024):
            talk.chunk(data[start : start + 32 * 1024])
        talk.send(LAST_CHUNK)
        answer = talk.answer()
    assert (answer.status, upload_of(answer)) == (202, upload)
    assert answer.headers["Range"] == f"0-{max(size_bytes - 1, 0)}"
    assert served.offset(upload) == size_bytes
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    assert served.holds(data)


@pytest.mark.parametrize("spelling", ["{0}-{1}", "bytes {0}-{1}/*", "bytes={0}-{1}", None])
def test_patches_and_a_last_put_make_one_blob(served: Served, spelling: str | None) -> None:
    """R31: chunks in order, in every spelling of Content-Range that is seen, and without."""
    data = some_bytes(700_000)
    pieces = [data[:1], data[1:100], data[100:400_000], data[400_000:]]
    upload = served.start()
    offset = 0
    for piece in pieces:
        headers = {}
        if spelling is not None:
            headers["Content-Range"] = spelling.format(offset, offset + len(piece) - 1)
        if piece is pieces[-1]:
            answer = served.ask("PUT", f"{upload}?digest={digest_of(data)}", headers, piece)
            assert answer.status == 201
        else:
            assert served.ask("PATCH", upload, headers, piece).status == 202
        offset += len(piece)
    assert served.holds(data)


def test_an_empty_patch_changes_nothing(served: Served) -> None:
    """R36: some clients send one before they know better."""
    upload = served.start()
    assert served.ask("PATCH", upload, body=b"").headers["Range"] == "0-0"
    assert served.ask("PATCH", upload).status == 202
    assert served.offset(upload) == 0


def test_a_patch_needs_no_content_range_for_its_place(served: Served) -> None:
    """R30: podman and docker send none; bytes go to the end."""
    upload = served.start()
    for size_bytes in (10, 90_000, 5):
        before = served.offset(upload) or 0
        assert served.ask("PATCH", upload, body=bytes(size_bytes)).status == 202
        assert served.offset(upload) == before + size_bytes


@pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
@pytest.mark.parametrize("announced", ["digest-algorithm={1}", "digest={0}", ""])
def test_other_algorithms_are_hashed_too(served: Served, algorithm: str, announced: str) -> None:
    """R29: the algorithm announced at POST, by its name or by the digest, or not at all."""
    data = some_bytes(200_000)
    hasher = blake3.blake3(data) if algorithm == "blake3" else hashlib.new(algorithm, data)
    digest = f"{algorithm}:{hasher.hexdigest()}"
    upload = served.start("?" + announced.format(digest, algorithm))
    assert served.ask("PATCH", upload, body=data[:100_000]).status == 202
    assert served.ask("PUT", f"{upload}?digest={digest}", body=data[100_000:]).status == 201
    answer = served.ask("GET", f"/blobs/{digest}")
    assert answer.body == data
    assert answer.headers["Docker-Content-Digest"] == digest


def test_a_put_repeated_after_its_201_was_lost_succeeds_again(served: Served) -> None:
    """Design section 7: 201 again, its body drained, and no second copy."""
    data = some_bytes(2_000_000)
    upload = served.start()
    target = f"{upload}?digest={digest_of(data)}"
    with served.talk() as talk:
        talk.head("PUT", target, {"Content-Length": len(data)})
        talk.send(data)
    for body in (data, None, data):
        answer = served.ask("PUT", target, body=body)
        assert (answer.status, answer.location) == (201, f"/blobs/{digest_of(data)}")
    other = served.ask("PUT", f"{upload}?digest={EMPTY}")
    assert (other.status, other.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert served.holds(data)


def test_equal_bytes_are_stored_once(served: Served) -> None:
    """Issue item 4: dedup drops the older copy, whichever way the bytes come."""
    data = some_bytes(100_000)
    saved = served.daemon.metric("blobd_dedup_saved_bytes_total")
    for _ in range(3):
        served.store(data)
    assert served.daemon.metric("blobd_dedup_saved_bytes_total") == saved + 2 * len(data)
    stored = list((served.daemon.data / "blobs").rglob(digest_of(data).removeprefix("sha256:")))
    assert len(stored) == 1
    assert served.holds(data)


@pytest.mark.parametrize("size_bytes", [0, 100_000])
def test_a_cancelled_upload_is_gone_with_its_bytes(served: Served, size_bytes: int) -> None:
    """R40: DELETE; afterwards 404 for everything."""
    upload = served.start()
    assert served.ask("PATCH", upload, body=bytes(size_bytes)).status == 202
    assert served.ask("DELETE", upload).status == 204
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        assert served.ask(method, upload).status == 404
    assert served.ask("PUT", f"{upload}?digest={EMPTY}").code == "BLOB_UPLOAD_UNKNOWN"
    assert not (served.daemon.data / upload.removeprefix("/")).exists()


def test_cancelling_takes_the_upload_from_whoever_is_sending(served: Served) -> None:
    """Promise 6: DELETE takes over; the overtaken request is answered and its bytes are gone."""
    upload = served.start()
    with served.talk() as talk:
        talk.invited("PATCH", upload, {"Content-Length": 10_000_000})
        talk.send(bytes(1_000_000))
        assert served.ask("DELETE", upload).status == 204
        answer = talk.answer()
    assert answer.status in {404, 416}
    assert served.offset(upload) is None


def test_head_tells_what_get_tells(served: Served) -> None:
    """R38, and the promise that status never disturbs a writer."""
    upload = served.start()
    with served.talk() as talk:
        talk.invited("PATCH", upload, {"Content-Length": 200_000})
        talk.send(bytes(100_000))
        for method in ("GET", "HEAD", "GET"):
            answer = served.ask(method, upload)
            assert (answer.status, upload_of(answer)) == (204, upload)
        talk.send(bytes(100_000))
        assert talk.answer().headers["Range"] == "0-199999"


def test_a_blob_that_is_let_go_of_is_no_longer_held(served: Served) -> None:
    """Promise 11: DELETE ends the blob API's hold, once."""
    data = some_bytes(1000)
    blob = served.store(data)
    assert served.ask("DELETE", blob).status == 202
    again = served.ask("DELETE", blob)
    assert (again.status, again.code) == (404, "BLOB_UNKNOWN")


def test_blobs_are_listed_page_by_page(served: Served) -> None:
    """Design section 8: `GET /blobs?after=&limit=`, in digest order, each one once."""
    stored = {}
    for size_bytes in range(1, 8):
        data = some_bytes(size_bytes)
        served.store(data)
        stored[digest_of(data)] = size_bytes
    found: dict[str, int] = {}
    after: str | None = ""
    while after is not None:
        page = answer_json(served.ask("GET", f"/blobs?limit=3{after}"))
        assert len(page["blobs"]) <= 3
        found |= {blob["digest"]: blob["size"] for blob in page["blobs"]}
        after = None if page["next"] is None else f"&after={page['next']}"
    assert list(found) == sorted(found)
    assert stored.items() <= found.items()
    assert answer_json(served.ask("GET", "/blobs?limit=0"))["blobs"] == []
    assert set(found) == {b["digest"] for b in answer_json(served.ask("GET", "/blobs"))["blobs"]}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=x", "PAGINATION_NUMBER_INVALID"),
        ("limit=-1", "PAGINATION_NUMBER_INVALID"),
        ("limit=1e3", "PAGINATION_NUMBER_INVALID"),
        ("limit=%D9%A3", "PAGINATION_NUMBER_INVALID"),
        ("after=sha256:xyz", "DIGEST_INVALID"),
        ("after=../../etc/passwd", "DIGEST_INVALID"),
    ],
)
def test_a_page_that_cannot_be_meant_is_refused(served: Served, query: str, code: str) -> None:
    """Issue item 9: malformed parameters are told apart."""
    answer = served.ask("GET", f"/blobs?{query}")
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize("query", ["limit=", "after=", "limit=&after=", "limit=" + "9" * 5000])
def test_an_empty_parameter_is_as_if_absent_and_any_number_is_clamped(
    served: Served, query: str
) -> None:
    """A form that sends its empty fields asks for nothing else."""
    assert served.ask("GET", f"/blobs?{query}").status == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Transfer-Encoding": "chunked"}], ids=["plain", "chunked"]
)
def test_an_append_repeated_after_its_answer_was_lost_is_refused(
    served: Served, headers: dict[str, str]
) -> None:
    """Promise 5: its Location names an offset that the upload has left; nothing is added twice."""
    first, second = some_bytes(3000), some_bytes(200_000)
    location = served.ask("POST", "/uploads").location
    for data in (first, second):
        with served.talk() as talk:
            _append(talk, location, headers, data)
            latest = talk.answer()
        assert latest.status == 202
        with served.talk() as talk:  # as if that answer had been lost
            _append(talk, location, headers, data)
            refused = talk.answer()
        assert (refused.status, refused.code) == (416, "BLOB_UPLOAD_INVALID")
        for name in ("Location", "Range", "Docker-Upload-UUID"):
            assert refused.headers[name] == latest.headers[name]
        assert served.ask("GET", location).location == latest.location
        location = latest.location
    digest = digest_of(first + second)
    assert served.ask("PUT", f"{location}?digest={digest}").status == 201
    assert served.holds(first + second)


def test_content_range_counts_more_than_the_location(served: Served) -> None:
    """Where a client says itself where its bytes lie, an older Location does no harm."""
    data = some_bytes(3000)
    location = served.ask("POST", "/uploads").location
    for start in (0, 1000, 2000):
        headers = {"Content-Range": f"{start}-{start + 999}"}
        assert served.ask("PATCH", location, headers, data[start : start + 1000]).status == 202
    assert served.ask("PUT", f"{location}?digest={digest_of(data)}").status == 201
    assert served.holds(data)


@pytest.mark.parametrize("last_bytes", [0, 10])
def test_a_put_at_an_older_location_is_judged_by_its_digest(
    served: Served, last_bytes: int
) -> None:
    """Nothing can be appended twice there without being noticed, so nobody is refused."""
    data = some_bytes(3000)
    location = served.ask("POST", "/uploads").location
    assert served.ask("PATCH", location, body=data[: 3000 - last_bytes]).status == 202
    target = f"{location}?digest={digest_of(data)}"
    for _ in range(2):
        assert served.ask("PUT", target, body=data[3000 - last_bytes :]).status == 201
    assert served.holds(data)


def _append(talk: Talk, location: str, headers: dict[str, str], data: bytes) -> None:
    length: dict[str, str | int] = {} if headers else {"Content-Length": len(data)}
    talk.head("PATCH", location, {**headers, **length})
    if headers:
        talk.chunk(data)
        talk.send(LAST_CHUNK)
    else:
        talk.send(data)
