"""Reading manifests (R13, R14, R42-R48, R61)."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.digest import Digest
from blobd.errors import ManifestInvalid
from blobd.registry.documents import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    read_document,
)
from tests.registry.acts import CONFIG_TYPE, LAYER_TYPE, descriptor, image, index

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def _changed(content: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(content) | changes).encode()


def test_an_image_names_its_config_and_its_layers() -> None:
    """R48."""
    document = read_document(image(A, B, C), OCI_MANIFEST)
    assert [str(named.digest) for named in document.blobs] == [A, B, C]
    assert all(named.required for named in document.blobs)
    assert document.children == ()


def test_an_index_names_manifests() -> None:
    """R48."""
    document = read_document(index(A, B), OCI_INDEX)
    assert [str(named.digest) for named in document.children] == [A, B]
    assert all(named.is_manifest for named in document.children)
    assert document.blobs == ()


def test_docker_schema_2_and_lists_are_read() -> None:
    """R42."""
    manifest = _changed(image(A, B), mediaType=DOCKER_MANIFEST)
    assert read_document(manifest, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    listed = _changed(index(A), mediaType=DOCKER_LIST)
    assert len(read_document(listed, DOCKER_LIST).children) == 1


def test_docker_schema_1_is_refused_by_name() -> None:
    """Its digest is of other bytes than those that are sent."""
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with pytest.raises(ManifestInvalid, match="schema 1"):
        read_document(b'{"schemaVersion": 1}', kind)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_that_live_elsewhere_are_not_required(media_type: str) -> None:
    """R48."""
    content = _changed(image(A), layers=[descriptor(B, media_type)])
    assert [named.required for named in read_document(content, None).blobs] == [True, False]


def test_a_descriptor_with_urls_is_not_required() -> None:
    """R48."""
    content = _changed(image(A), layers=[descriptor(B, urls=["https://example.com/b"])])
    assert [named.required for named in read_document(content, None).blobs] == [True, False]


def test_layers_may_be_empty_or_null() -> None:
    """R46; Go writes an empty list as null."""
    assert len(read_document(image(A), None).blobs) == 1
    assert len(read_document(_changed(image(A), layers=None), None).blobs) == 1


def test_unknown_properties_and_media_types_pass() -> None:
    """R14."""
    content = _changed(
        image(A, B), surprise={"deep": [1, None]}, layers=[descriptor(B, "text/what+ever", odd=1)]
    )
    assert len(read_document(content, OCI_MANIFEST).blobs) == 2


def test_a_manifest_of_an_unknown_kind_passes_and_what_it_names_is_noted() -> None:
    """R14: noted, so that it is not collected; not required, as nobody knows what it means."""
    content = json.dumps({"layers": [descriptor(A)], "config": "text", "blobs": 7}).encode()
    document = read_document(content, "application/vnd.example.manifest+json")
    assert [(str(named.digest), named.required) for named in document.blobs] == [(A, False)]


def test_digests_of_unknown_algorithms_pass_in_descriptors() -> None:
    """R13."""
    document = read_document(
        image(A, "other+b64:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564"), None
    )
    assert document.blobs[1].digest.algorithm == "other+b64"


def test_parameters_of_the_content_type_are_ignored() -> None:
    """R42."""
    assert read_document(image(A), f"{OCI_MANIFEST}; charset=utf-8").media_type == OCI_MANIFEST


def test_without_a_content_type_the_body_decides() -> None:
    """R42."""
    assert read_document(index(), None).media_type == OCI_INDEX
    content = json.loads(index())
    del content["mediaType"]
    assert read_document(json.dumps(content).encode(), None).media_type == OCI_INDEX


def test_header_and_body_must_agree_on_the_media_type() -> None:
    """R42."""
    with pytest.raises(ManifestInvalid, match="Content-Type"):
        read_document(image(A), OCI_INDEX)


def test_the_artifact_type_is_the_manifests_or_else_the_images_config_type() -> None:
    """R61."""
    assert read_document(image(A), None).artifact_type == CONFIG_TYPE
    assert read_document(_changed(image(A), artifactType="x/y"), None).artifact_type == "x/y"
    assert read_document(_changed(image(A), artifactType=""), None).artifact_type == CONFIG_TYPE
    assert read_document(index(), None).artifact_type is None
    assert read_document(_changed(index(), artifactType="x/y"), None).artifact_type == "x/y"


def test_subject_and_annotations_are_read() -> None:
    """R47, R62."""
    content = _changed(image(A), subject=descriptor(B, OCI_MANIFEST), annotations={"k": "v"})
    document = read_document(content, None)
    assert document.subject == Digest.parse(B)
    assert document.annotations == {"k": "v"}
    assert len(document.blobs) == 1


def test_an_artifact_manifest_names_blobs() -> None:
    """The kind that OCI withdrew; some clients still push it."""
    content = json.dumps({"mediaType": OCI_ARTIFACT, "blobs": [descriptor(A)]}).encode()
    assert [str(named.digest) for named in read_document(content, OCI_ARTIFACT).blobs] == [A]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"blablabla",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
    ],
    ids=range(17),
)
def test_what_is_not_i_json_is_refused(content: bytes) -> None:
    """R14: RFC 7493; and nothing hostile gets further than that."""
    with pytest.raises(ManifestInvalid):
        read_document(content, OCI_MANIFEST)


def test_a_repeated_member_among_many_is_found_in_time() -> None:
    """R14: looking for it takes no more than one pass."""
    members = ",".join(f'"{number}":0' for number in range(300_000))
    with pytest.raises(ManifestInvalid, match="twice"):
        read_document(f'{{{members},"0":1}}'.encode(), OCI_MANIFEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"schemaVersion": None},
        {"schemaVersion": "2"},
        {"config": None},
        {"config": "text"},
        {"config": {}},
        {"layers": {}},
        {"layers": [None]},
        {"layers": ["text"]},
        {"layers": [descriptor("sha256:short")]},
        {"layers": [descriptor("sha256:" + "A" * 64)]},
        {"layers": [descriptor("../../etc/passwd")]},
        {"layers": [{"mediaType": LAYER_TYPE, "digest": A}]},
        {"layers": [{"digest": A, "size": 3}]},
        {"layers": [descriptor(A, size=-1)]},
        {"layers": [descriptor(A, size=1.5)]},
        {"layers": [descriptor(A, size=True)]},
        {"layers": [descriptor(A, size=2**63)]},
        {"layers": [descriptor(7)]},  # type: ignore[arg-type]
        {"subject": "text"},
        {"subject": descriptor("sha256:short")},
        {"annotations": []},
        {"annotations": {"k": 1}},
        {"annotations": {"k": None}},
        {"artifactType": 7},
        {"artifactType": "x/" + "y" * 300},
        {"mediaType": 7},
        {"manifests": []},
        {"fsLayers": []},
    ],
    ids=str,
)
def test_a_malformed_image_is_refused(changes: dict[str, Any]) -> None:
    """MANIFEST_INVALID rather than something no client can pull."""
    with pytest.raises(ManifestInvalid):
        read_document(_changed(image(A, B), **changes), OCI_MANIFEST)


def test_a_document_that_reads_both_ways_is_refused() -> None:
    """CVE-2021-41190."""
    with pytest.raises(ManifestInvalid, match="layers"):
        read_document(_changed(index(A), layers=[descriptor(B)]), OCI_INDEX)


@pytest.mark.parametrize("header", ["text", "a/b/c", "x/" + "y" * 200, "a/b\r\nX: y", "/", "ä/ö"])
def test_what_is_no_media_type_is_refused(header: str) -> None:
    """It would be sent back as a header."""
    content = b'{"schemaVersion": 2}'
    with pytest.raises(ManifestInvalid, match="media type"):
        read_document(content, header)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["config", "layers", "manifests", "digest", "mediaType", "size", "subject"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, OCI_ARTIFACT, "x/y", None]),
)
def test_any_json_is_read_or_refused(document: object, content_type: str | None) -> None:
    """No document makes reading fail in another way."""
    with suppress(ManifestInvalid):
        read_document(json.dumps(document).encode(), content_type)
