"""Tags and referrers over sockets (R54-R65, R73)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from blobd.registry.media_types import OCI_INDEX, OCI_MANIFEST
from tests.registry.acts import descriptor, image, index
from tests.registry.protocol import digest_of, next_page

if TYPE_CHECKING:
    from tests.registry.protocol import Registry

TAGS = ["10", "9", "V1", "_x", "a-1", "a.1", "v1", "v1.0"]
SUBJECT = digest_of(b"the subject")


@pytest.fixture
def tagged(registry: Registry, name: str) -> str:
    content = image(registry.push(name, b"{}"))
    for tag in reversed(TAGS):
        assert registry.put_manifest(name, tag, content).status == 201
    return name


def test_all_tags_are_listed_in_the_order_of_their_bytes(registry: Registry, tagged: str) -> None:
    """R54, R55, R56."""
    answer = registry.get(f"/v2/{tagged}/tags/list")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"name": tagged, "tags": sorted(TAGS)}
    assert answer.headers["Link"] is None


def test_tags_are_listed_by_page(registry: Registry, tagged: str) -> None:
    """R57: exactly n, and a Link as long as there are more."""
    found: list[str] = []
    path: str | None = f"/v2/{tagged}/tags/list?n=3"
    sizes = []
    while path is not None:
        answer = registry.get(path)
        sizes.append(len(answer.json()["tags"]))
        found += answer.json()["tags"]
        path = next_page(answer)
    assert found == sorted(TAGS)
    assert sizes == [3, 3, 2]


def test_n_zero_is_an_empty_list_without_a_link(registry: Registry, tagged: str) -> None:
    """R57."""
    answer = registry.get(f"/v2/{tagged}/tags/list?n=0")
    assert answer.status == 200
    assert answer.json()["tags"] == []
    assert answer.headers["Link"] is None


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "1e3", "%2B1", "%D9%A3"])
def test_a_bad_n_is_refused(registry: Registry, tagged: str, n: str) -> None:
    """R57; on both lists."""
    for path in (f"/v2/{tagged}/tags/list", "/v2/_catalog"):
        answer = registry.get(f"{path}?n={n}")
        assert (answer.status, answer.codes) == (400, ["PAGINATION_NUMBER_INVALID"])


@pytest.mark.parametrize("query", ["n=1000000", "n=" + "9" * 5000, "n=", "last=", "n=&last="])
def test_a_large_n_is_clamped_and_an_empty_parameter_is_as_if_absent(
    registry: Registry, tagged: str, query: str
) -> None:
    """R57."""
    assert registry.get(f"/v2/{tagged}/tags/list?{query}").json()["tags"] == sorted(TAGS)
    assert tagged in registry.get(f"/v2/_catalog?{query}").json()["repositories"]
    assert registry.get(f"/v2/{tagged}/referrers/{SUBJECT}?{query}&artifactType=").status == 200


@pytest.mark.parametrize("last", ["a-1", "a-2", "", "zzz", "V1", "%00", "not%20a%20tag"])
def test_last_is_a_place_in_the_list(registry: Registry, tagged: str, last: str) -> None:
    """R58: with or without n, whether it is a tag or not."""
    answer = registry.get(f"/v2/{tagged}/tags/list?last={last}")
    place = last.replace("%00", "\x00").replace("%20", " ")
    assert answer.status == 200
    assert answer.json()["tags"] == [tag for tag in sorted(TAGS) if tag > place]


def test_a_repository_without_tags_has_an_empty_list(registry: Registry, name: str) -> None:
    """R54: `[]`, not null; an unknown repository is another matter."""
    assert registry.get(f"/v2/{name}/tags/list").status == 404
    assert registry.get(f"/v2/{name}/tags/list").codes == ["NAME_UNKNOWN"]
    registry.push(name, b"{}")
    assert registry.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": []}


def _referrers(registry: Registry, name: str, query: str = "") -> tuple[list[dict[str, Any]], Any]:
    answer = registry.get(f"/v2/{name}/referrers/{SUBJECT}{query}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    document = answer.json()
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == OCI_INDEX
    return document["manifests"], answer.headers


def _refer(registry: Registry, name: str, artifact_type: str, **more: Any) -> str:
    config = registry.push(name, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    content = image(config, subject=subject, artifactType=artifact_type, **more)
    assert registry.put_manifest(name, digest_of(content), content).status == 201
    return digest_of(content)


def test_referrers_are_never_not_found(registry: Registry, name: str) -> None:
    """R59, R63."""
    assert _referrers(registry, name)[0] == []
    registry.push(name, b"{}")
    assert _referrers(registry, name)[0] == []


def test_a_malformed_subject_is_refused(registry: Registry, name: str) -> None:
    """R59."""
    answer = registry.get(f"/v2/{name}/referrers/sha256:short")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


def test_referrers_are_described(registry: Registry, name: str) -> None:
    """R60, R61, R62: an image with its config's type, an artifact, an index."""
    config = registry.push(name, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    plain = image(config, subject=subject)
    registry.put_manifest(name, "plain", plain)
    artifact = _refer(registry, name, "x/sbom", annotations={"k": "v"})
    indexed = index(subject=subject)
    registry.put_manifest(name, "indexed", indexed)
    found, headers = _referrers(registry, name)
    assert headers["OCI-Filters-Applied"] is None
    by_digest = {each["digest"]: each for each in found}
    assert by_digest[digest_of(plain)] == {
        "mediaType": OCI_MANIFEST,
        "digest": digest_of(plain),
        "size": len(plain),
        "artifactType": "application/vnd.oci.image.config.v1+json",
    }
    assert by_digest[artifact]["artifactType"] == "x/sbom"
    assert by_digest[artifact]["annotations"] == {"k": "v"}
    assert by_digest[digest_of(indexed)] == {
        "mediaType": OCI_INDEX,
        "digest": digest_of(indexed),
        "size": len(indexed),
    }


@pytest.mark.parametrize("written", ["x%2Fsbom%2Bjson", "x/sbom+json", "x/sbom%2bjson"])
def test_referrers_are_filtered(registry: Registry, name: str, written: str) -> None:
    """R65: a + that a client forgot to encode included."""
    wanted = _refer(registry, name, "x/sbom+json")
    _refer(registry, name, "x/other")
    found, headers = _referrers(registry, name, f"?artifactType={written}")
    assert [each["digest"] for each in found] == [wanted]
    assert headers["OCI-Filters-Applied"] == "artifactType"


@pytest.mark.parametrize(
    "written",
    [
        "x%2Fsbom%2Bjson%3B%20v%3D1",
        "x/sbom+json;%20v=1",
        "x/sbom+json;+v=1",
        "x/sbom%2Bjson%3B+v=1",
        "x/sbom%2Bjson%3Bv=1",
        "X/SBOM%2Bjson%20%3B%20%20V=1",
    ],
)
def test_referrers_are_found_by_a_type_with_a_parameter(
    registry: Registry, name: str, written: str
) -> None:
    """RFC 9110 section 8.3.1: letters in any case, and spaces or none around the semicolon."""
    wanted = _refer(registry, name, "x/sbom+json; v=1")
    _refer(registry, name, "x/sbom+json")
    found, _ = _referrers(registry, name, f"?artifactType={written}")
    assert [each["digest"] for each in found] == [wanted]


@pytest.mark.parametrize("written", ["x%2Fsbom%00", "%00", "x%2Fs%25bom", "%27"])
def test_no_referrer_has_a_type_that_none_can_have(
    registry: Registry, name: str, written: str
) -> None:
    """R65: an answer like any other, whatever a database thinks of such a text."""
    _refer(registry, name, "x/sbom")
    assert _referrers(registry, name, f"?artifactType={written}")[0] == []


def test_a_deleted_referrer_is_gone(registry: Registry, name: str) -> None:
    """R68."""
    digest = _refer(registry, name, "x/y")
    assert registry.delete(f"/v2/{name}/manifests/{digest}").status == 202
    assert _referrers(registry, name)[0] == []


def test_many_large_referrers_come_by_page(registry: Registry, name: str) -> None:
    """R64: each page a full index within 4 MB, the filter kept from page to page."""
    pushed = {
        _refer(registry, name, "x/large+json", annotations={f"n{number}": "x" * 1_900_000})
        for number in range(5)
    }
    _refer(registry, name, "x/other")
    found: list[str] = []
    path: str | None = f"/v2/{name}/referrers/{SUBJECT}?artifactType=x%2Flarge%2Bjson"
    pages = 0
    while path is not None:
        answer = registry.get(path)
        assert len(answer.body) <= 4_000_000
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        found += [each["digest"] for each in answer.json()["manifests"]]
        path = next_page(answer)
        pages += 1
    assert pages > 1
    assert len(found) == len(pushed)
    assert set(found) == pushed


def test_tags_of_the_fallback_schema_are_ordinary_tags(registry: Registry, name: str) -> None:
    """R73: cosign and older clients push them."""
    tag = SUBJECT.replace(":", "-")
    content = image(registry.push(name, b"{}"))
    for each in (tag, f"{tag}.sig", f"{tag}.att"):
        assert registry.put_manifest(name, each, content).status == 201
        assert registry.get(f"/v2/{name}/manifests/{each}").body == content
