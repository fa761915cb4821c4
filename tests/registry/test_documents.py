"""Reading manifests (R13, R14, R42-R48, R61)."""

from __future__ import annotations

import json
import re
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.digest import Digest
from blobd.registry.documents import read_document
from blobd.registry.errors import ManifestInvalid
from blobd.registry.media_types import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tests.registry.acts import CONFIG_TYPE, LAYER_TYPE, descriptor, image, index

A, B, C, D = ("sha256:" + letter * 64 for letter in "abcd")
UNKNOWN = "application/vnd.example.manifest+json"


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
@pytest.mark.parametrize(
    ("urls", "required"),
    [
        (["https://example.com/b"], False),
        (None, True),
        ([], True),
        ("https://example.com/b", True),
        ([""], True),
        ([1], True),
    ],
)
def test_foreign_layers_are_required_unless_a_url_says_where_they_are(
    media_type: str, urls: object, required: bool
) -> None:
    """R48: nobody could fetch what is neither here nor anywhere."""
    content = _changed(image(A), layers=[descriptor(B, media_type, urls=urls)])
    assert [named.required for named in read_document(content, None).blobs] == [True, required]


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
    document = read_document(content, UNKNOWN)
    assert [(str(named.digest), named.required) for named in document.others] == [(A, False)]


def test_descriptors_of_an_unknown_kind_are_kept_wherever_they_stand() -> None:
    """Garbage collection must not take what somebody will ask for; only the subject is not kept."""
    deep: Any = descriptor(A)
    for _ in range(300):
        deep = [{"x" * 60: deep}]
    content = json.dumps(
        {
            "parts": {"nested": [[descriptor(B, data={"digest": C})]]},
            "deep": deep,
            "subject": descriptor(D),
            "digest": "not one",
            "list": ["sha256:no", {"digest": 7}, {"digest": "sha256:short"}],
        }
    ).encode()
    document = read_document(content, UNKNOWN)
    assert {str(named.digest) for named in document.others} == {A, B, C}
    assert not any(named.required for named in document.others)
    assert str(document.subject) == D


def test_an_image_keeps_what_it_names_in_other_places() -> None:
    """An unknown member of a known kind may name something too."""
    document = read_document(_changed(image(A), extra=[descriptor(B)]), OCI_MANIFEST)
    assert [str(named.digest) for named in document.others] == [B]


def test_a_hostile_document_is_read_in_bounded_memory() -> None:
    """Deep and wide at once: places are texts for people, and no longer than that."""
    wide = "[" + ",".join(["{}"] * 300_000) + "]"
    content = ('{"' + "k" * 40 + '":') * 300 + wide + "}" * 300
    tracemalloc.start()
    try:
        read_document(content.encode(), UNKNOWN)
        assert tracemalloc.get_traced_memory()[1] < 200_000_000
    finally:
        tracemalloc.stop()


def test_more_digests_than_a_manifest_has_use_for_are_refused() -> None:
    """Refused, as leaving some of them out would let them be collected."""
    content = json.dumps([f"sha256:{number:064x}" for number in range(10_001)])
    content = json.dumps({"x": [{"digest": digest} for digest in json.loads(content)]})
    with pytest.raises(ManifestInvalid, match="10000"):
        read_document(content.encode(), UNKNOWN)


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
        {"layers": [{"digest": A, "mediaType": 7, "size": 3}]},
        {"layers": [descriptor(A, size=-1)]},
        {"layers": [descriptor(A, size=1.5)]},
        {"layers": [descriptor(A, size=True)]},
        {"layers": [descriptor(A, size=2**63)]},
        {"layers": [descriptor(7)]},  # type: ignore[arg-type]
        {"subject": "text"},
        {"subject": descriptor("sha256:short")},
        {"annotations": []},
        {"annotations": {"k": 1}},
        {"annotations": {"k": [None]}},
        {"subject": {}},
        {"artifactType": 7},
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


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"layers": [{"digest": B, "size": 3}]}, r"layers\[0\] has no mediaType"),
        ({"layers": [descriptor(B, "")]}, r"layers\[0\] has no mediaType"),
        ({"layers": [descriptor(B, None)]}, r"layers\[0\] has no mediaType"),  # type: ignore[arg-type]
        ({"annotations": {"k": None, "l": "v"}}, "annotations"),
        ({"subject": {"digest": C}}, "subject says no more than its digest"),
        ({"subject": {"mediaType": "", "digest": C, "size": 0}}, "subject says no more"),
        ({"artifactType": "x/" + "y" * 254}, "artifactType has 256 characters"),
        ({"artifactType": "x/y\0z"}, "artifactType holds a NUL"),
        ({"config": descriptor(A, "x/" + "y" * 254)}, "config.mediaType has 256 characters"),
        ({"config": descriptor(A, "x/\0")}, "config.mediaType holds a NUL"),
    ],
    ids=str,
)
def test_what_can_be_understood_is_taken_and_warned_of(
    changes: dict[str, Any], warning: str
) -> None:
    """Images in the wild that other registries take; no reference is guessed away."""
    document = read_document(_changed(image(A, B), **changes), OCI_MANIFEST)
    assert [str(named.digest) for named in document.blobs] == [A, B]
    assert all(named.required for named in document.blobs)
    (said,) = document.warnings
    assert re.match(warning, said)
    assert document.subject == (Digest.parse(C) if "subject" in changes else None)
    assert document.annotations == ({"l": "v"} if "annotations" in changes else {})
    unusable = {"artifactType", "config"} & changes.keys()
    assert document.artifact_type == (None if unusable else CONFIG_TYPE)


@pytest.mark.parametrize(
    ("content", "missing"), [(image(A), "layers"), (index(), "manifests")], ids=["image", "index"]
)
def test_a_list_that_is_missing_is_empty(content: bytes, missing: str) -> None:
    """Other registries take both."""
    kept = {name: value for name, value in json.loads(content).items() if name != missing}
    document = read_document(json.dumps(kept).encode(), kept["mediaType"])
    assert (len(document.blobs), document.children) == (1 if missing == "layers" else 0, ())
    assert document.warnings == (f"{missing} is missing; it is read as an empty list",)


def test_a_correct_manifest_comes_without_a_warning() -> None:
    """A warning that everybody gets is read by nobody."""
    subject = descriptor(C, OCI_MANIFEST)
    for content in (image(A, B, subject=subject, annotations={"k": "v"}), index(A, B)):
        assert read_document(content, None).warnings == ()


@pytest.mark.parametrize(
    "spelling",
    [
        OCI_MANIFEST.title(),
        OCI_MANIFEST.upper(),
        f"{OCI_MANIFEST};charset=utf-8",
        f'\t{OCI_MANIFEST.upper()} ;\t Charset="utf-8";x=y ; ',
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["header", "body"])
def test_every_spelling_of_a_media_type_is_recognised(spelling: str, inside: bool) -> None:
    """RFC 9110, section 8.3.1; no spelling gets round a check."""
    content = _changed(image(A, B), mediaType=spelling if inside else None)
    header = None if inside else spelling
    document = read_document(content, header)
    assert document.recognised
    assert document.media_type == OCI_MANIFEST
    assert [named.required for named in document.blobs] == [True, True]
    with pytest.raises(ManifestInvalid, match="does not belong"):
        read_document(_changed(content, manifests=[]), header)


def test_header_and_body_may_spell_it_in_two_ways() -> None:
    """They agree where the media types are equal."""
    content = _changed(image(A), mediaType=OCI_MANIFEST.title())
    assert read_document(content, f"{OCI_MANIFEST.upper()}; v=1").media_type == OCI_MANIFEST


def test_every_spelling_in_a_descriptor_is_recognised() -> None:
    """A child that can only be a manifest."""
    child = descriptor(A, f"{OCI_MANIFEST.upper()}; v=1")
    (named,) = read_document(_changed(index(), manifests=[child]), None).children
    assert named.is_manifest


def test_letters_that_only_look_alike_are_not_recognised() -> None:
    """The Kelvin sign is a k in lower case, and no part of any media type."""
    with pytest.raises(ManifestInvalid, match="media type"):
        read_document(_changed(image(A), mediaType=None), DOCKER_MANIFEST.replace("k", "\u212a"))


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.example.manifest+json",
        "application/vnd.example.manifest",
        "application/example+json",
        "Application/VND.Example+JSON",
    ],
)
def test_manifests_of_unknown_kinds_have_such_types(media_type: str) -> None:
    """They keep the letters they were pushed with, for clients that compare bytes."""
    document = read_document(b"{}", f"{media_type}; v=1")
    assert (document.media_type, document.recognised) == (media_type, False)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "image/svg+xml",
        "text/javascript",
        "application/json",
        "application/octet-stream",
        "application/xhtml+xml",
        "application/vnd.example+xml",
        "application/vnd.wap.xhtml+XML",
        "application/pdf",
        "application/+json",
        "text/vnd.example+json",
    ],
)
def test_what_is_no_manifests_type_is_refused(media_type: str) -> None:
    """A browser would show, or run, what GET gives back."""
    with pytest.raises(ManifestInvalid, match="media type"):
        read_document(b"{}", media_type)
    with pytest.raises(ManifestInvalid, match="media type"):
        read_document(json.dumps({"mediaType": media_type}).encode(), None)


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
    st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, OCI_ARTIFACT, UNKNOWN, None]),
)
def test_any_json_is_read_or_refused(document: object, content_type: str | None) -> None:
    """No document makes reading fail in another way."""
    with suppress(ManifestInvalid):
        read_document(json.dumps(document).encode(), content_type)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"size": %s}' % (b"9" * 5000), "a number has 5000 digits"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": "\xff"}', "not UTF-8 from byte 7 on"),
    ],
)
def test_what_cannot_be_parsed_is_refused_without_advice_for_programmers(
    content: bytes, why: str
) -> None:
    with pytest.raises(ManifestInvalid) as refusal:
        read_document(content, OCI_MANIFEST)
    assert str(refusal.value).endswith(why)
