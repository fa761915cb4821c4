"""Media types, sizes and departures from the specification, over sockets (R14, R42, R48, R72)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from blobd.registry.media_types import OCI_INDEX, OCI_MANIFEST, as_answered
from tests.registry.acts import descriptor, image, index
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from tests.registry.protocol import Registry

UNKNOWN = "application/vnd.example.manifest+json"
MISSING = "sha256:" + "e" * 64
LARGE_BYTES = 2**63 - 1


def _untyped(content: bytes, **changes: object) -> bytes:
    """Return a manifest whose media type the request's header alone says."""
    document = json.loads(content) | changes
    del document["mediaType"]
    return json.dumps(document).encode()


def test_another_spelling_gets_round_no_check(registry: Registry, name: str) -> None:
    """RFC 9110, section 8.3.1: media types are case-insensitive, and parameters no part of them."""
    spelling = f"{OCI_MANIFEST.title()}; charset=utf-8"
    config = registry.push(name, b"{}")
    lacking = _untyped(image(config, MISSING))
    answer = registry.put_manifest(name, "v1", lacking, spelling)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    both = _untyped(image(config), manifests=[])
    answer = registry.put_manifest(name, "v1", both, spelling)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    whole = _untyped(image(config))
    assert registry.put_manifest(name, "v1", whole, spelling).status == 201
    # clients compare byte by byte what they get
    answer = registry.get(f"/v2/{name}/manifests/v1")
    assert (answer.headers["Content-Type"], answer.body) == (OCI_MANIFEST, whole)


def test_an_unknown_kind_keeps_its_letters_and_what_it_names(registry: Registry, name: str) -> None:
    """R14: nothing that it names has to be here."""
    content = json.dumps({"parts": {"first": [descriptor(MISSING)]}}).encode()
    spelling = UNKNOWN.replace("example", "Example")
    assert registry.put_manifest(name, "v1", content, f"{spelling} ; v=1").status == 201
    answer = registry.get(f"/v2/{name}/manifests/v1")
    assert (answer.headers["Content-Type"], answer.body) == (spelling, content)


@pytest.mark.parametrize(
    "media_type", ["text/html", "image/svg+xml", "Text/JavaScript; charset=utf-8"]
)
def test_what_browsers_run_is_no_manifest(registry: Registry, name: str, media_type: str) -> None:
    """It would be given back with that type."""
    answer = registry.put_manifest(name, "v1", b'{"a": "<script>alert(1)</script>"}', media_type)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert "application/vnd.*" in answer.json()["errors"][0]["message"]


def test_what_was_let_in_before_is_answered_as_bytes() -> None:
    """A catalog may have manifests that this version would refuse."""
    assert as_answered("text/html") == "application/octet-stream"
    assert as_answered("Application/VND.Example+JSON") == "Application/VND.Example+JSON"


@pytest.mark.parametrize("size_bytes", [LARGE_BYTES, 0, 4])
def test_a_descriptor_has_the_size_of_what_is_here(
    registry: Registry, name: str, size_bytes: int
) -> None:
    """Clients believe sizes: what a pull reserves, and where it ends."""
    config, layer = registry.push(name, b"{}"), registry.push(name, b"layer")
    wrong = image(config, layers=[descriptor(layer, size=size_bytes)])
    answer = registry.put_manifest(name, "v1", wrong)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    (error,) = answer.json()["errors"]
    assert error["detail"] == {"digest": layer, "said_bytes": size_bytes, "size_bytes": 5}
    assert str(size_bytes) in error["message"]
    assert "layers[0]" in error["message"]


def test_sizes_are_checked_wherever_a_descriptor_stands(registry: Registry, name: str) -> None:
    """Children of an index, foreign layers that were pushed all the same, unknown kinds."""
    config, layer = registry.push(name, b"{}"), registry.push(name, b"layer")
    child = image(config, layer)
    assert registry.put_manifest(name, digest_of(child), child).status == 201
    lie: dict[str, Any] = {"size": LARGE_BYTES}
    foreign = descriptor(layer, urls=["https://example.com"], **lie)
    wrong = [
        (index(manifests=[descriptor(digest_of(child), OCI_MANIFEST, **lie)]), OCI_INDEX),
        (image(config, layers=[foreign]), OCI_MANIFEST),
        (json.dumps({"parts": [descriptor(layer, **lie)]}).encode(), UNKNOWN),
        (json.dumps({"parts": [descriptor(digest_of(child), **lie)]}).encode(), UNKNOWN),
    ]
    for content, kind in wrong:
        answer = registry.put_manifest(name, "v1", content, kind)
        assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"]), content
    # without a media type it is no descriptor, and what is elsewhere has any size
    other = json.dumps({"parts": [{"digest": layer, **lie}, descriptor(MISSING, **lie)]}).encode()
    assert registry.put_manifest(name, "v1", other, UNKNOWN).status == 201


def test_images_in_the_wild_are_taken_with_a_warning(registry: Registry, name: str) -> None:
    """R72: one line each, `299 - "text"`."""
    config, layer = registry.push(name, b"{}"), registry.push(name, b"layer")
    content = image(
        config,
        layers=[{"digest": layer, "size": 5}],
        annotations={"k": None},
        subject={"digest": MISSING},
        artifactType="x/" + "y" * 300,
    )
    answer = registry.put_manifest(name, "v1", content)
    assert answer.status == 201
    assert answer.headers["OCI-Subject"] == MISSING
    warnings = answer.headers.get_all("Warning") or []
    assert len(warnings) == 4
    for place in ("layers[0]", "annotations", "subject", "artifactType"):
        (line,) = (line for line in warnings if place in line)
        assert line.startswith('299 - "')
        assert line.endswith('"')
    assert registry.get(f"/v2/{name}/manifests/v1").body == content
    (listed,) = registry.get(f"/v2/{name}/referrers/{MISSING}").json()["manifests"]
    assert listed["digest"] == digest_of(content)
    assert not {"artifactType", "annotations"} & listed.keys()


def test_warnings_are_bounded(registry: Registry, name: str) -> None:
    """R72: 4096 bytes in all, and few enough lines for every proxy."""
    config, layer = registry.push(name, b"{}"), registry.push(name, b"layer")
    content = image(config, layers=[{"digest": layer, "size": 5}] * 500)
    answer = registry.put_manifest(name, "v1", content)
    assert answer.status == 201
    warnings = answer.headers.get_all("Warning") or []
    assert len(warnings) == 21
    assert warnings[-1] == '299 - "and 480 more of the kind"'
    assert sum(map(len, warnings)) <= 4096
