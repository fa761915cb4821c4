"""Blobs over sockets: pulling and deleting (R21-R24, R69, promise 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.registry.acts import image
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from tests.registry.protocol import Registry

DATA = bytes(range(256)) * 8


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_comes_back_exactly(registry: Registry, name: str, algorithm: str) -> None:
    """R21, R12."""
    digest = registry.push(name, DATA, algorithm)
    answer = registry.get(f"/v2/{name}/blobs/{digest}", Accept_Encoding="zstd;q=1.0, gzip;q=0.8")
    assert answer.status == 200
    assert answer.body == DATA
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Encoding"] is None


def test_head_says_what_get_would_send(registry: Registry, name: str) -> None:
    """R23."""
    digest = registry.push(name, DATA)
    answer = registry.head(f"/v2/{name}/blobs/{digest}")
    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_the_empty_blob_is_a_blob(registry: Registry, name: str) -> None:
    """Zero bytes have a digest too."""
    digest = registry.push(name, b"")
    answer = registry.get(f"/v2/{name}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, b"")
    assert registry.head(f"/v2/{name}/blobs/{digest}").headers["Content-Length"] == "0"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
    ],
)
def test_a_range_is_a_part(
    registry: Registry, name: str, asked: str, start: int, stop: int
) -> None:
    """R22: closed, open, suffix, clipped."""
    digest = registry.push(name, DATA)
    answer = registry.get(f"/v2/{name}/blobs/{digest}", Range=asked)
    assert answer.status == 206
    assert answer.body == DATA[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("asked", ["bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=500-0"])
def test_a_range_that_cannot_be_is_refused(registry: Registry, name: str, asked: str) -> None:
    """R22: beyond the end, or backwards, as the OCI conformance suite asks."""
    digest = registry.push(name, DATA)
    answer = registry.get(f"/v2/{name}/blobs/{digest}", Range=asked)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


def test_a_client_that_has_the_blob_is_told_so(registry: Registry, name: str) -> None:
    """R22: ETag, If-None-Match, If-Range, and caching for ever."""
    digest = registry.push(name, DATA)
    path = f"/v2/{name}/blobs/{digest}"
    answer = registry.get(path)
    etag = answer.headers["ETag"]
    assert etag == f'"{digest}"'
    assert "immutable" in answer.headers["Cache-Control"]
    cached = registry.get(path, If_None_Match=etag)
    assert (cached.status, cached.body) == (304, b"")
    assert registry.get(path, Range="bytes=0-9", If_Range=etag).status == 206
    assert registry.get(path, Range="bytes=0-9", If_Range='"other"').status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_unknown_blob_is_not_found(registry: Registry, name: str, method: str) -> None:
    """R21, R23, R69."""
    registry.push(name, b"{}")
    answer = registry.send(method, f"/v2/{name}/blobs/{digest_of(b'unknown')}")
    assert answer.status == 404
    if method != "HEAD":
        assert answer.codes == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("bad", ["sha256:short", "sha256:" + "A" * 64, "nothing", "sha256:", ":a"])
def test_a_malformed_digest_is_refused(
    registry: Registry, name: str, method: str, bad: str
) -> None:
    """R11, R12, R24."""
    answer = registry.send(method, f"/v2/{name}/blobs/{bad}")
    assert answer.status == 400
    if method != "HEAD":
        assert answer.codes == ["DIGEST_INVALID"]


def test_a_well_formed_digest_of_an_unknown_algorithm_is_not_found(
    registry: Registry, name: str
) -> None:
    """R13."""
    assert registry.get(f"/v2/{name}/blobs/other+b64:abc=_-1").status == 404


def test_a_deleted_blob_is_gone_at_once_and_only_here(registry: Registry, name: str) -> None:
    """R69: per repository, though bytes are stored once."""
    digest = registry.push(name, DATA)
    registry.push(f"{name}/other", DATA)
    path = f"/v2/{name}/blobs/{digest}"
    assert registry.delete(path).status == 202
    assert registry.get(path).status == 404
    assert registry.head(path).status == 404
    assert registry.delete(path).codes == ["BLOB_UNKNOWN"]
    assert registry.get(f"/v2/{name}/other/blobs/{digest}").body == DATA
    registry.push(name, DATA)
    assert registry.get(path).body == DATA


def test_a_blob_that_a_manifest_names_stays(registry: Registry, name: str) -> None:
    """Promise 11: until the last manifest of its repository that names it is deleted."""
    config, layer, unnamed = (
        registry.push(name, f"{name} {part}".encode()) for part in ("config", "layer", "unnamed")
    )
    other = registry.push(f"{name}/other", f"{name} layer".encode())
    content = image(config, layer)
    manifest = digest_of(content)
    for tag in ("v1", "v2"):
        assert registry.put_manifest(name, tag, content).status == 201
    for digest in (config, layer):
        path = f"/v2/{name}/blobs/{digest}"
        kept = registry.delete(path)
        assert (kept.status, kept.codes, kept.headers["Allow"]) == (
            405,
            ["UNSUPPORTED"],
            "GET, HEAD",
        )
        assert f"{digest} belongs to {manifest}; delete what names it first" in kept.body.decode()
        assert registry.get(path).status == 200
    assert registry.delete(f"/v2/{name}/blobs/{unnamed}").status == 202
    assert registry.delete(f"/v2/{name}/other/blobs/{other}").status == 202
    assert registry.delete(f"/v2/{name}/manifests/v1").status == 202
    assert registry.delete(f"/v2/{name}/blobs/{layer}").status == 405
    assert registry.delete(f"/v2/{name}/manifests/{manifest}").status == 202
    for digest in (config, layer):
        assert registry.delete(f"/v2/{name}/blobs/{digest}").status == 202
        assert registry.get(f"/v2/{name}/blobs/{digest}").status == 404


def test_knowing_a_digest_is_not_having_it(registry: Registry, name: str) -> None:
    """Promise 10: HEAD, GET and DELETE look at the repository, never at the store."""
    digest = registry.push(f"{name}/private", b"secret " + name.encode())
    for method in ("HEAD", "GET", "DELETE"):
        assert registry.send(method, f"/v2/{name}/blobs/{digest}").status == 404
    assert registry.get(f"/v2/{name}/private/blobs/{digest}").status == 200
