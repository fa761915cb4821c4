"""Manifests over sockets (R15-R20, R42-R53, R67, R68)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from blobd.registry.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.registry.acts import descriptor, image, index
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from tests.registry.protocol import Registry

MIB = 1024 * 1024


def _image(registry: Registry, name: str, **more: object) -> bytes:
    return image(registry.push(name, b"{}"), registry.push(name, b"layer"), **more)


def test_a_manifest_is_pushed_and_pulled_by_tag_and_digest(registry: Registry, name: str) -> None:
    """R15, R16, R19, R43, R44, R45, end-3, end-7a."""
    content = b" " + _image(registry, name) + b"\n"
    digest = digest_of(content)
    for reference in ("v1", digest):
        answer = registry.put_manifest(name, reference, content)
        assert answer.status == 201
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == "0"
        assert registry.get(answer.location).body == content
    for reference in ("v1", digest):
        for method, body in (("GET", content), ("HEAD", b"")):
            answer = registry.send(method, f"/v2/{name}/manifests/{reference}")
            assert answer.status == 200
            assert answer.body == body
            assert answer.headers["Content-Type"] == OCI_MANIFEST
            assert answer.headers["Content-Length"] == str(len(content))
            assert answer.headers["Docker-Content-Digest"] == digest


def test_the_asked_digest_is_answered(registry: Registry, name: str) -> None:
    """R17, R12: sha512 stays sha512, by digest and by tag."""
    content = _image(registry, name)
    sha512 = digest_of(content, "sha512")
    answer = registry.put_manifest(name, f"{sha512}?tag=long", content)
    assert answer.headers["Docker-Content-Digest"] == sha512
    registry.put_manifest(name, "short", content)
    for reference, digest in (
        (sha512, sha512),
        ("long", sha512),
        ("short", digest_of(content)),
        (digest_of(content), digest_of(content)),
    ):
        answer = registry.get(f"/v2/{name}/manifests/{reference}")
        assert answer.body == content
        assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("accept", ["text/html", OCI_INDEX, "application/json;q=0.1, */*;q=0"])
def test_accept_never_turns_a_manifest_away(registry: Registry, name: str, accept: str) -> None:
    """R20."""
    registry.put_manifest(name, "v1", _image(registry, name))
    answer = registry.get(f"/v2/{name}/manifests/v1", Accept=accept)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == OCI_MANIFEST


def test_an_unchanged_manifest_need_not_be_sent(registry: Registry, name: str) -> None:
    """R4: RFC 9110 section 13.1.2."""
    registry.put_manifest(name, "v1", _image(registry, name))
    etag = registry.get(f"/v2/{name}/manifests/v1").headers["ETag"]
    answer = registry.get(f"/v2/{name}/manifests/v1", If_None_Match=etag)
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("reference", ["v9", digest_of(b"unknown"), ".INVALID_MANIFEST_NAME"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_manifest_is_not_found(
    registry: Registry, name: str, method: str, reference: str
) -> None:
    """R18; and what cannot be a tag names none."""
    registry.push(name, b"{}")
    answer = registry.send(method, f"/v2/{name}/manifests/{reference}")
    assert answer.status == 404
    if method == "GET":
        assert answer.codes == ["MANIFEST_UNKNOWN"]


def test_an_unknown_repository_is_not_found(registry: Registry, name: str) -> None:
    """R50, R68."""
    assert registry.get(f"/v2/{name}/manifests/v1").codes == ["NAME_UNKNOWN"]
    path = f"/v2/{name}/manifests/{digest_of(b'')}"
    assert registry.delete(path).codes == ["NAME_UNKNOWN"]
    assert registry.delete(path).status == 404


def test_a_malformed_reference_is_refused(registry: Registry, name: str) -> None:
    """R10."""
    content = _image(registry, name)
    answer = registry.put_manifest(name, "sha256:baddigeststring", content)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    answer = registry.put_manifest(name, ".bad", content)
    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
    answer = registry.put_manifest(name, "a" * 129, content)
    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
    assert registry.get(f"/v2/{name}/manifests/sha256:baddigeststring").status == 400


def test_a_manifest_under_another_digest_is_refused(registry: Registry, name: str) -> None:
    """R45: whitespace counts."""
    content = _image(registry, name)
    answer = registry.put_manifest(name, digest_of(content), content + b"  ")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    answer = registry.put_manifest(name, "md5:" + "0" * 32, content)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert registry.get(f"/v2/{name}/manifests/{digest_of(content)}").status == 404


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"blablabla",
        b"[]",
        b"{}",
        b'{"schemaVersion":2,"schemaVersion":2}',
        b"\xff\xfe",
        b"[" * 99999,
    ],
)
def test_a_malformed_manifest_is_refused(registry: Registry, name: str, content: bytes) -> None:
    answer = registry.put_manifest(name, "v1", content, OCI_MANIFEST)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404


def test_the_content_type_must_be_the_manifests(registry: Registry, name: str) -> None:
    """R42: parameters are ignored, another type is refused."""
    content = _image(registry, name)
    answer = registry.put_manifest(name, "v1", content, OCI_INDEX)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert registry.put_manifest(name, "v1", content, f"{OCI_MANIFEST}; a=b").status == 201
    answer = registry.get(f"/v2/{name}/manifests/v1")
    assert answer.headers["Content-Type"] == OCI_MANIFEST


def test_every_missing_reference_is_named(registry: Registry, name: str) -> None:
    """R48, end-7a: one entry each; nothing is stored."""
    missing = [digest_of(b"1"), digest_of(b"2")]
    content = image(registry.push(name, b"{}"), *missing)
    answer = registry.put_manifest(name, "v1", content)
    assert answer.status == 400
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"] * 2
    details = [error["detail"]["digest"] for error in answer.json()["errors"]]
    assert details == missing
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404


def test_the_reference_check_does_not_tell_what_others_have(registry: Registry, name: str) -> None:
    """Promise 10."""
    private = registry.push(f"{name}/private", b"secret " + name.encode())
    answer = registry.put_manifest(name, "v1", image(registry.push(name, b"{}"), private))
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"]


def test_an_index_needs_its_children_and_may_be_nested(registry: Registry, name: str) -> None:
    """R48, R15."""
    child = _image(registry, name)
    assert registry.put_manifest(name, "x", index(digest_of(child))).codes == [
        "MANIFEST_BLOB_UNKNOWN"
    ]
    registry.put_manifest(name, digest_of(child), child)
    parent = index(digest_of(child))
    assert registry.put_manifest(name, digest_of(parent), parent).status == 201
    nested = index(manifests=[descriptor(digest_of(parent), OCI_INDEX)])
    assert registry.put_manifest(name, "nested", nested).status == 201
    assert registry.put_manifest(name, "empty", index()).status == 201
    assert registry.get(f"/v2/{name}/manifests/nested").body == nested


def test_docker_images_and_lists(registry: Registry, name: str) -> None:
    """R42: kept as they are, never converted."""
    manifest = json.loads(_image(registry, name)) | {"mediaType": DOCKER_MANIFEST}
    content = json.dumps(manifest, indent=3).encode()
    assert registry.put_manifest(name, "amd64", content).status == 201
    child = descriptor(digest_of(content), DOCKER_MANIFEST, platform={"os": "linux"})
    listed = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child]})
    assert registry.put_manifest(name, "all", listed.encode()).status == 201
    answer = registry.get(f"/v2/{name}/manifests/all")
    assert answer.headers["Content-Type"] == DOCKER_LIST
    assert answer.body == listed.encode()


def test_foreign_layers_and_urls_need_not_be_here(registry: Registry, name: str) -> None:
    """R48, R46: an image needs no layer."""
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layers = [
        descriptor(digest_of(b"a"), foreign, urls=["https://example.com/a"]),
        descriptor(digest_of(b"b"), urls=["https://example.com/b"]),
    ]
    content = image(registry.push(name, b"{}"), layers=layers)
    assert registry.put_manifest(name, "v1", content).status == 201
    assert registry.put_manifest(name, "v2", image(digest_of(b"{}"))).status == 201


def test_a_foreign_layer_that_is_neither_here_nor_elsewhere_is_refused(
    registry: Registry, name: str
) -> None:
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    config = registry.push(name, b"{}")
    answer = registry.put_manifest(
        name, "v1", image(config, layers=[descriptor(digest_of(b"a"), foreign)])
    )
    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    here = registry.push(name, b"foreign")
    content = image(config, layers=[descriptor(here, foreign)])
    assert registry.put_manifest(name, "v1", content).status == 201


def test_unknown_fields_and_types_come_back(registry: Registry, name: str) -> None:
    """R14; configs are not parsed."""
    config = registry.push(name, b"not json at all")
    content = image(
        config,
        layers=[descriptor(config, "x/y", data="bm90")],
        org={"x": [None]},
        artifactType="x/z",
    )
    assert registry.put_manifest(name, "v1", content).status == 201
    assert registry.get(f"/v2/{name}/manifests/v1").body == content


@pytest.mark.parametrize("chunked", [False, True])
def test_a_manifest_of_four_mebibytes_is_taken_and_one_byte_more_is_not(
    registry: Registry, name: str, *, chunked: bool
) -> None:
    """R51: 413, whether the size was announced or not."""
    content = _image(registry, name)
    full = content + b" " * (4 * MIB - len(content))

    def put(body: bytes) -> tuple[int, bytes]:
        sent = iter([body[:100], body[100:]]) if chunked else body
        headers = {"Content-Type": OCI_MANIFEST}
        answer = registry.send("PUT", f"/v2/{name}/manifests/v1", sent, headers)
        return answer.status, answer.body

    status, body = put(full + b" ")
    assert status == 413
    assert json.loads(body)["errors"][0]["code"] == "MANIFEST_INVALID"
    assert put(full)[0] == 201
    assert registry.get(f"/v2/{name}/manifests/v1").body == full


def test_tags_are_set_with_the_push_by_digest(registry: Registry, name: str) -> None:
    """R49, end-7b: OCI-Tag names each of them."""
    content = _image(registry, name)
    tags = [f"t{number}" for number in range(10)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = registry.put_manifest(name, f"{digest_of(content)}?{query}", content)
    assert answer.status == 201
    assert answer.headers.get_all("OCI-Tag") == [", ".join(tags)]
    assert registry.get(f"/v2/{name}/tags/list").json()["tags"] == tags
    for tag in tags:
        assert registry.get(f"/v2/{name}/manifests/{tag}").body == content


def test_too_many_or_malformed_tags_set_none(registry: Registry, name: str) -> None:
    """R49: 414."""
    content = _image(registry, name)
    digest = digest_of(content)
    many = "&".join(f"tag=t{number}" for number in range(101))
    answer = registry.put_manifest(name, f"{digest}?{many}", content)
    assert answer.status == 414
    answer = registry.put_manifest(name, f"{digest}?tag=good&tag=.bad", content)
    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
    assert registry.get(f"/v2/{name}/tags/list").json()["tags"] == []


def test_a_subject_is_acknowledged_and_need_not_exist(registry: Registry, name: str) -> None:
    """R47, R52: images and indexes."""
    subject = digest_of(b"a manifest to come")
    for tag, content in (
        ("i", _image(registry, name, subject=descriptor(subject, OCI_MANIFEST))),
        ("x", index(subject=descriptor(subject, OCI_MANIFEST))),
    ):
        answer = registry.put_manifest(name, tag, content)
        assert answer.status == 201
        assert answer.headers["OCI-Subject"] == subject
    plain = registry.put_manifest(name, "p", _image(registry, name))
    assert plain.headers["OCI-Subject"] is None


def test_deleting_a_tag_leaves_the_manifest(registry: Registry, name: str) -> None:
    """R67, end-9."""
    content = _image(registry, name)
    registry.put_manifest(name, "v1", content)
    assert registry.delete(f"/v2/{name}/manifests/v1").status == 202
    assert registry.get(f"/v2/{name}/manifests/v1").status == 404
    assert registry.get(f"/v2/{name}/manifests/{digest_of(content)}").status == 200
    assert registry.delete(f"/v2/{name}/manifests/v1").codes == ["MANIFEST_UNKNOWN"]


def test_deleting_a_manifest_takes_its_tags(registry: Registry, name: str) -> None:
    """R68."""
    content = _image(registry, name)
    digest = digest_of(content)
    registry.put_manifest(name, f"{digest}?tag=v1&tag=v2", content)
    assert registry.delete(f"/v2/{name}/manifests/{digest}").status == 202
    for reference in (digest, "v1", "v2"):
        assert registry.get(f"/v2/{name}/manifests/{reference}").status == 404
    assert registry.get(f"/v2/{name}/tags/list").json()["tags"] == []
    assert registry.delete(f"/v2/{name}/manifests/{digest}").codes == ["MANIFEST_UNKNOWN"]
