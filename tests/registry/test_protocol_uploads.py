"""Uploads over sockets: every way to push a blob into a repository (R24-R41)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.registry.protocol import OCTETS, Answer, digest_of, with_digest

if TYPE_CHECKING:
    from tests.registry.protocol import Registry

DATA = b"some layer " * 100
UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f-]{36}")


def _stored(registry: Registry, name: str, answer: Answer, data: bytes) -> None:
    """Check a 201 and that its location can be pulled (R26, R37)."""
    assert answer.status == 201, answer.body
    assert answer.headers["Content-Length"] == "0"
    digest = answer.headers["Docker-Content-Digest"]
    assert answer.location == f"/v2/{name}/blobs/{digest}"
    assert registry.get(answer.location).body == data


def test_post_opens_a_session(registry: Registry, name: str) -> None:
    """R25: with a UUID in a location on the same host, and no repository made yet."""
    answer = registry.start(name)
    assert answer.status == 202
    assert answer.location.startswith(f"/v2/{name}/blobs/uploads/")
    assert UUID.search(answer.location)
    assert answer.headers["Range"] == "0-0"
    assert answer.headers["Docker-Upload-UUID"] in answer.location
    assert answer.headers["Content-Length"] == "0"
    assert registry.get(f"/v2/{name}/tags/list").codes == ["NAME_UNKNOWN"]


def test_post_then_put(registry: Registry, name: str) -> None:
    """R26: containerd, buildkit, oras."""
    location = registry.start(name).location
    answer = registry.send("PUT", with_digest(location, digest_of(DATA)), DATA, OCTETS)
    _stored(registry, name, answer, DATA)


def test_a_single_post(registry: Registry, name: str) -> None:
    """R27, end-4b."""
    path = f"/v2/{name}/blobs/uploads/?digest={digest_of(DATA)}"
    _stored(registry, name, registry.send("POST", path, DATA, OCTETS), DATA)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_single_post_of_the_empty_blob(
    registry: Registry, name: str, algorithm: str, *, chunked: bool
) -> None:
    """R27, end-4b: stored, whichever way nothing is sent."""
    digest = digest_of(b"", algorithm)
    path = f"/v2/{name}/blobs/uploads/?digest={digest}"
    answer = registry.send("POST", path, iter(()) if chunked else b"", OCTETS)
    assert answer.headers["Docker-Content-Digest"] == digest
    _stored(registry, name, answer, b"")


def test_a_single_post_with_another_digest_is_refused(registry: Registry, name: str) -> None:
    """R27: and nothing becomes visible."""
    digest = digest_of(b"other")
    answer = registry.send("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", DATA, OCTETS)
    assert answer.status == 400
    assert answer.codes == ["DIGEST_INVALID"]
    assert registry.head(f"/v2/{name}/blobs/{digest}").status == 404
    assert registry.head(f"/v2/{name}/blobs/{digest_of(DATA)}").status == 404


def test_a_stream_of_unknown_length(registry: Registry, name: str) -> None:
    """R39: docker; one PATCH in chunks, then an empty PUT."""
    location = registry.start(name).location
    answer = registry.send("PATCH", location, iter([DATA[:500], DATA[500:]]), OCTETS)
    assert answer.status == 202
    assert answer.headers["Range"] == f"0-{len(DATA) - 1}"
    answer = registry.send("PUT", with_digest(answer.location, digest_of(DATA)))
    _stored(registry, name, answer, DATA)


@pytest.mark.parametrize("last_in_put", [False, True])
def test_chunks(registry: Registry, name: str, *, last_in_put: bool) -> None:
    """R31, R32, R35: each with its Content-Range, the last one in the PUT or not."""
    location = registry.start(name).location
    cuts = [0, 400, 800, len(DATA)]
    spans = list(pairwise(cuts))
    for start, stop in spans[:-1] if last_in_put else spans:
        headers = {**OCTETS, "Content-Range": f"{start}-{stop - 1}"}
        answer = registry.send("PATCH", location, DATA[start:stop], headers)
        assert answer.status == 202
        assert answer.headers["Range"] == f"0-{stop - 1}"
        location = answer.location
    path = with_digest(location, digest_of(DATA))
    if last_in_put:
        headers = {**OCTETS, "Content-Range": f"800-{len(DATA) - 1}"}
        answer = registry.send("PUT", path, DATA[800:], headers)
    else:
        answer = registry.send("PUT", path)
    _stored(registry, name, answer, DATA)


def test_an_append_repeated_after_its_answer_was_lost_is_refused(
    registry: Registry, name: str
) -> None:
    """Nothing is added twice: 416 with the Location and Range of the lost answer."""
    location = registry.start(name).location
    lost = registry.send("PATCH", location, DATA[:400], OCTETS)
    repeated = registry.send("PATCH", location, DATA[:400], OCTETS)
    assert (repeated.status, repeated.codes) == (416, ["BLOB_UPLOAD_INVALID"])
    for header in ("Location", "Range", "Docker-Upload-UUID"):
        assert repeated.headers[header] == lost.headers[header]
    assert registry.send("PATCH", repeated.location, DATA[400:], OCTETS).status == 202
    path = with_digest(location, digest_of(DATA))
    _stored(registry, name, registry.send("PUT", path), DATA)


def test_a_chunk_out_of_order_is_refused_and_the_session_lives_on(
    registry: Registry, name: str
) -> None:
    """R34, R36: PATCH and PUT, with what a client needs to go on."""
    location = registry.start(name).location
    first = {**OCTETS, "Content-Range": "0-399"}
    late = {**OCTETS, "Content-Range": f"800-{len(DATA) - 1}"}
    assert registry.send("PATCH", location, DATA[800:], late).status == 416
    assert registry.send("PATCH", location, DATA[:400], first).status == 202
    path = with_digest(location, digest_of(DATA))
    for answer in (
        registry.send("PATCH", location, DATA[800:], late),
        registry.send("PATCH", location, DATA[:400], first),
        registry.send("PUT", path, DATA[800:], late),
    ):
        assert answer.status == 416
        assert answer.headers["Range"] == "0-399"
        assert answer.location.partition(".")[0] == location.partition(".")[0]
        assert answer.headers["Docker-Upload-UUID"]
    rest = {**OCTETS, "Content-Range": f"400-{len(DATA) - 1}"}
    _stored(registry, name, registry.send("PUT", path, DATA[400:], rest), DATA)


def test_the_status_tells_the_offset(registry: Registry, name: str) -> None:
    """R38, end-13; `0-0` is one byte, and no byte is no range."""
    location = registry.start(name).location
    assert registry.get(location).status == 204
    assert "Range" not in registry.get(location).headers
    registry.send("PATCH", location, DATA[:1], OCTETS)
    assert registry.get(location).headers["Range"] == "0-0"
    assert registry.head(location).headers["Range"] == "0-0"
    location = registry.start(name).location
    registry.send("PATCH", location, DATA, OCTETS)
    answer = registry.get(location)
    assert answer.status == 204
    assert answer.headers["Range"] == f"0-{len(DATA) - 1}"
    assert answer.location


def test_a_cancelled_upload_is_unknown(registry: Registry, name: str) -> None:
    """R40, end-14."""
    location = registry.start(name).location
    assert registry.delete(location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = registry.send(method, location)
        assert answer.status == 404, method
        assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
    put = registry.send("PUT", with_digest(location, digest_of(b"")))
    assert put.codes == ["BLOB_UPLOAD_UNKNOWN"]


def test_an_upload_belongs_to_its_repository(registry: Registry, name: str) -> None:
    """R40: elsewhere it is unknown, and cannot be finished into another repository."""
    location = registry.start(name).location.replace(name, f"{name}/other")
    answer = registry.send("PUT", with_digest(location, digest_of(DATA)), DATA, OCTETS)
    assert answer.status == 404
    assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]


@pytest.mark.parametrize("upload_id", ["x", "0" * 32, "..%2f..%2fcatalog.sqlite", "%00"])
def test_an_invented_upload_is_unknown(registry: Registry, name: str, upload_id: str) -> None:
    """R40; and no id leads out of the folder of uploads."""
    answer = registry.get(f"/v2/{name}/blobs/uploads/{upload_id}")
    assert answer.status in {400, 404}
    assert answer.codes[0] in {"BLOB_UPLOAD_UNKNOWN", "NAME_INVALID", "UNSUPPORTED"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_algorithm_is_announced_or_not(
    registry: Registry, name: str, algorithm: str
) -> None:
    """R29, end-4c; unannounced it works too."""
    digest = digest_of(DATA, algorithm)
    for query in (f"?digest-algorithm={algorithm}", ""):
        location = registry.start(name, query).location
        registry.send("PATCH", location, DATA, OCTETS)
        _stored(registry, name, registry.send("PUT", with_digest(location, digest)), DATA)


@pytest.mark.parametrize("bad", ["md5:" + "0" * 32, "sha256:short", "nonsense", ""])
def test_an_invalid_or_unsupported_digest_is_refused_in_every_form(
    registry: Registry, name: str, bad: str
) -> None:
    """R24."""
    post = f"/v2/{name}/blobs/uploads/?digest={bad}"
    assert registry.send("POST", post, DATA, OCTETS).codes == ["DIGEST_INVALID"]
    location = registry.start(name).location
    assert registry.send("PUT", with_digest(location, bad), DATA, OCTETS).codes == [
        "DIGEST_INVALID"
    ]
    assert registry.start(name, "?digest-algorithm=md5").codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize("way", ["put", "patch", "patch and put"])
def test_a_wrong_digest_makes_nothing_visible(registry: Registry, name: str, way: str) -> None:
    """R35: under no digest."""
    digest = digest_of(b"other")
    location = registry.start(name).location
    if "patch" in way:
        registry.send("PATCH", location, DATA[:400], OCTETS)
    rest = DATA[400:] if way == "patch and put" else DATA if way == "put" else b""
    answer = registry.send("PUT", with_digest(location, digest), rest, OCTETS)
    assert answer.status == 400
    assert answer.codes == ["DIGEST_INVALID"]
    for each in (digest, digest_of(DATA)):
        assert registry.head(f"/v2/{name}/blobs/{each}").status == 404


def test_a_repeated_put_is_answered_again(registry: Registry, name: str) -> None:
    """The client's 201 was lost on its way."""
    path = with_digest(registry.start(name).location, digest_of(DATA))
    for _ in range(2):
        _stored(registry, name, registry.send("PUT", path, DATA, OCTETS), DATA)


def test_mount(registry: Registry, name: str) -> None:
    """R41, end-11."""
    digest = registry.push(f"{name}/source", DATA)
    answer = registry.start(name, f"?mount={digest}&from={name}/source")
    _stored(registry, name, answer, DATA)


def test_mount_from_anywhere(registry: Registry, name: str) -> None:
    """R41: without `from`, whatever the caller may read."""
    data = DATA + name.encode()
    digest = registry.push(f"{name}/source", data)
    _stored(registry, name, registry.start(name, f"?mount={digest}"), data)


@pytest.mark.parametrize(
    "query",
    [
        "?mount={unknown}&from={name}/source",
        "?mount={known}&from={name}/nobody",
        "?mount={unknown}",
        "?mount=nonsense&from={name}/source",
        "?mount=md5:00&from={name}/source",
        "?mount={known}&from=NOT/A/NAME",
        "?mount=",
    ],
)
def test_a_mount_that_cannot_be_opens_a_session(registry: Registry, name: str, query: str) -> None:
    """R41: never an error, and the session works."""
    data = DATA + name.encode()
    known = registry.push(f"{name}/source", data)
    unknown = digest_of(data + b"?")
    answer = registry.start(name, query.format(known=known, unknown=unknown, name=name))
    assert answer.status == 202
    path = with_digest(answer.location, known)
    _stored(registry, name, registry.send("PUT", path, data, OCTETS), data)


def test_a_mount_does_not_reach_what_was_deleted(registry: Registry, name: str) -> None:
    """Promise 10: the bytes may still lie in the store; nobody links them."""
    data = DATA + name.encode()
    digest = registry.push(f"{name}/source", data)
    assert registry.delete(f"/v2/{name}/source/blobs/{digest}").status == 202
    assert registry.start(name, f"?mount={digest}&from={name}/source").status == 202
    assert registry.start(name, f"?mount={digest}").status == 202


def test_parameters_of_others_pass(registry: Registry, name: str) -> None:
    """R25: a location's parameters, kept and extended by clients."""
    location = registry.start(name, "?unknown=1").location
    path = with_digest(f"{location}?_state=abc", digest_of(DATA))
    _stored(registry, name, registry.send("PUT", path, DATA, OCTETS), DATA)
