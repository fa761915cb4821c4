"""The registry over sockets: the root, errors, names and paths (R1-R14, R70)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.registry.acts import image
from tests.registry.protocol import OCTETS, digest_of, next_page, with_digest

if TYPE_CHECKING:
    from tests.registry.protocol import Registry


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_this_is_a_registry(registry: Registry, path: str, method: str) -> None:
    """R6, end-1; and without a redirect, whichever way it is written."""
    answer = registry.send(method, path)
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == "2"
    assert answer.body == (b"{}" if method == "GET" else b"")


def test_credentials_of_others_are_ignored(registry: Registry) -> None:
    """A client that is logged in elsewhere sends its tokens; without identities nobody minds."""
    assert registry.get("/v2/", Authorization="Basic Og==").status == 200
    assert registry.get("/v2/", Authorization="Bearer nonsense").status == 200


@pytest.mark.parametrize(
    "path", ["/v1/", "/v2/_unknown", "/v2/name", "/v2/name/blobs", "/v2/a/manifests/b/c"]
)
def test_an_unknown_path_is_an_error_in_json(registry: Registry, path: str) -> None:
    """R70."""
    answer = registry.get(path)
    assert answer.status == 404
    assert answer.codes == ["UNSUPPORTED"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v2/"),
        ("POST", "/v2/a/manifests/b"),
        ("PUT", "/v2/a/blobs/sha256:00"),
        ("DELETE", "/v2/a/tags/list"),
        ("GET", "/v2/a/blobs/uploads/"),
        ("PATCH", "/v2/a/blobs/uploads/"),
    ],
)
def test_an_unknown_method_names_the_known_ones(registry: Registry, method: str, path: str) -> None:
    """R4: RFC 9110 section 15.5.6."""
    answer = registry.send(method, path)
    assert answer.status == 405
    assert answer.codes == ["UNSUPPORTED"]
    assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "bad", ["A/b", "a//b", "-a", "a/-b", "a..b", "a/", "..%2f..%2fetc", "a%00b", "a%0Ab", "a" * 256]
)
def test_a_malformed_name_is_refused_everywhere(registry: Registry, bad: str) -> None:
    """R8; path traversal gets no further."""
    digest = digest_of(b"")
    for method, path in [
        ("POST", f"/v2/{bad}/blobs/uploads/"),
        ("GET", f"/v2/{bad}/blobs/{digest}"),
        ("HEAD", f"/v2/{bad}/blobs/{digest}"),
        ("DELETE", f"/v2/{bad}/blobs/{digest}"),
        ("GET", f"/v2/{bad}/manifests/latest"),
        ("PUT", f"/v2/{bad}/manifests/latest"),
        ("GET", f"/v2/{bad}/tags/list"),
        ("GET", f"/v2/{bad}/referrers/{digest}"),
    ]:
        answer = registry.send(method, path)
        assert answer.status == 400, (method, path)
        if method != "HEAD":
            assert answer.codes == ["NAME_INVALID"]


@pytest.mark.parametrize(
    "suffix", ["blobs", "manifests", "tags", "blobs/uploads", "manifests/tags", "referrers/list"]
)
def test_a_name_may_hold_the_words_of_paths(registry: Registry, name: str, suffix: str) -> None:
    """R8: paths are matched from the right."""
    full = f"{name}/{suffix}"
    config = registry.push(full, b"{}")
    assert registry.get(f"/v2/{full}/blobs/{config}").body == b"{}"
    assert registry.put_manifest(full, "list", image(config)).status == 201
    assert registry.get(f"/v2/{full}/manifests/list").body == image(config)
    assert registry.get(f"/v2/{full}/tags/list").json() == {"name": full, "tags": ["list"]}
    assert registry.get(f"/v2/{full}/referrers/{config}").status == 200


def test_digests_may_be_percent_encoded_in_paths_and_queries(registry: Registry, name: str) -> None:
    """Trap 5: as Go's url.PathEscape and QueryEscape write them."""
    digest = digest_of(b"data").replace(":", "%3A")
    location = registry.start(name).location
    assert registry.send("PUT", with_digest(location, digest), b"data", OCTETS).status == 201
    assert registry.get(f"/v2/{name}/blobs/{digest}").body == b"data"


def test_a_proxied_host_name_is_no_obstacle(registry: Registry, name: str) -> None:
    """R7: `ns=` may be ignored."""
    digest = registry.push(name, b"data")
    assert registry.get(f"/v2/{name}/blobs/{digest}?ns=docker.io").body == b"data"


def test_the_extensions_can_be_discovered(registry: Registry) -> None:
    """The `_oci` extension: every entry has what its description requires."""
    answer = registry.get("/v2/_oci/ext/discover")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    for extension in answer.json()["extensions"]:
        assert extension["name"].startswith("_")
        assert extension["url"].startswith("https://")
        assert extension["endpoints"]


def test_all_repositories_are_listed_by_page(registry: Registry, name: str) -> None:
    """Docker's `_catalog`, with n, last and Link."""
    made = sorted(f"{name}/{letter}" for letter in "abc")
    for each in reversed(made):
        registry.push(each, b"{}")
    found: list[str] = []
    path: str | None = "/v2/_catalog?n=2"
    while path is not None:
        answer = registry.get(path)
        page = answer.json()["repositories"]
        assert len(page) <= 2
        found += page
        path = next_page(answer)
    assert [each for each in found if each.startswith(name)] == made
    assert found == sorted(found)
    assert registry.get("/v2/_catalog").json()["repositories"] == found


def test_an_error_never_answers_a_head_with_a_body(registry: Registry, name: str) -> None:
    """R23."""
    answer = registry.head(f"/v2/{name}/blobs/{digest_of(b'')}")
    assert answer.status == 404
    assert answer.body == b""


def test_error_details_say_what_is_wrong(registry: Registry, name: str) -> None:
    """R70: facts, for people and for scripts."""
    digest = digest_of(b"unknown")
    answer = registry.get(f"/v2/{name}/blobs/{digest}")
    (error,) = json.loads(answer.body)["errors"]
    assert digest in error["message"]
    assert error["detail"] == {"digest": digest}
