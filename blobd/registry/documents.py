"""Reading manifests: what a document is, what it names, whether it may be stored. No I/O.

The bytes themselves are never changed and unknown properties pass (R14); what is checked is what
pulling clients and garbage collection have to rely on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from blobd.digest import Digest, MalformedDigest
from blobd.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_MANIFESTS = _IMAGES | _INDEXES | {OCI_ARTIFACT}
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign."
_OCI_NON_DISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable."
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_MAX_SIZE = 2**63 - 1

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Named:
    """Something that a manifest names."""

    digest: Digest
    media_type: str
    required: bool
    """False where it may live elsewhere: foreign layers, descriptors with `urls` (R48)."""

    @property
    def is_manifest(self) -> bool:
        """Whether it can only be a manifest; anything else that an index names may be a blob."""
        return self.media_type in _MANIFESTS


@dataclass(frozen=True, slots=True)
class Document:
    """What blobd has to know of a manifest."""

    media_type: str
    blobs: tuple[Named, ...]
    children: tuple[Named, ...]
    """What an index lists."""
    subject: Digest | None
    artifact_type: str | None
    """As referrers are filtered by: the manifest's own, else an image's config type (R61)."""
    annotations: Mapping[str, str]


def read_document(content: bytes, content_type: str | None) -> Document:
    """Return what a manifest says. `content_type` is the request's header, if there was one.

    Raises ManifestInvalid, naming the place. Takes time that grows with the content.
    """
    document = _parse(content)
    media_type = _media_type(document, content_type)
    if media_type.startswith(_SCHEMA_1):
        raise ManifestInvalid("Docker's schema 1 is not supported; push schema 2 or an OCI image")
    if media_type in _MANIFESTS:
        _check_shape(document, media_type)
    known = media_type in _MANIFESTS
    config = _config(document, media_type)
    blobs = list(config)
    if media_type in _IMAGES or not known:
        blobs += _descriptors(document, "layers", media_type)
    if media_type == OCI_ARTIFACT or not known:
        blobs += _descriptors(document, "blobs", media_type)
    children: list[Named] = []
    if media_type in _INDEXES or not known:
        children += _descriptors(document, "manifests", media_type)
    artifact_type = _text(document, "artifactType") or None
    if artifact_type is None and media_type in _IMAGES and config:
        artifact_type = config[0].media_type
    subject = document.get("subject")
    return Document(
        media_type=media_type,
        blobs=tuple(blobs),
        children=tuple(children),
        subject=None if subject is None else _descriptor(subject, "subject").digest,
        artifact_type=artifact_type,
        annotations=_annotations(document),
    )


def _parse(content: bytes) -> Json:
    """Parse I-JSON (RFC 7493): UTF-8, no member twice, no lone surrogates, finite numbers."""
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
        if b"\\u" in content:
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise ManifestInvalid("the manifest is nested too deeply") from None
    except ValueError as error:
        raise ManifestInvalid(f"the manifest is not I-JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"member {name[:80]!r} is there twice")
            seen.add(name)
    return members


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _media_type(document: Json, content_type: str | None) -> str:
    """Return the media type, which header and body must agree on (R42)."""
    inside = _text(document, "mediaType")
    said = (content_type or "").partition(";")[0].strip()
    media_type = said or inside or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        raise ManifestInvalid(f"{media_type[:140]!r} is not a media type")
    if inside and inside.lower() != media_type.lower():
        raise ManifestInvalid(
            f"Content-Type is {media_type}, but the manifest's mediaType is {inside[:140]!r}"
        )
    return media_type


def _check_shape(document: Json, media_type: str) -> None:
    """Hold a known kind to what its specification requires.

    A document that could be read as an image and as an index is refused (CVE-2021-41190).
    """
    if media_type != OCI_ARTIFACT and document.get("schemaVersion") != 2:
        raise ManifestInvalid("schemaVersion must be 2")
    if media_type in _INDEXES:
        required, foreign = ["manifests"], ["config", "layers", "fsLayers"]
    elif media_type in _IMAGES:
        required, foreign = ["config", "layers"], ["manifests", "fsLayers"]
    else:
        required, foreign = [], ["manifests", "fsLayers"]
    for name in required:
        if name not in document:
            raise ManifestInvalid(f"{name} is missing")
    for name in foreign:
        if document.get(name) is not None:
            raise ManifestInvalid(f"{name} does not belong into {media_type}")


def _config(document: Json, media_type: str) -> list[Named]:
    if media_type in _IMAGES:
        return [_descriptor(document.get("config"), "config")]
    if media_type in _MANIFESTS:
        return []
    return list(_guessed([document.get("config")]))


def _descriptors(document: Json, member: str, media_type: str) -> Iterator[Named]:
    """Yield what a list of descriptors names; a missing list or null is an empty one."""
    items = document.get(member)
    if media_type not in _MANIFESTS:
        yield from _guessed(items if isinstance(items, list) else [])
        return
    if items is None:
        return
    if not isinstance(items, list):
        raise ManifestInvalid(f"{member} must be a list")
    for number, item in enumerate(items):
        yield _descriptor(item, f"{member}[{number}]")


def _descriptor(item: object, place: str) -> Named:
    if not isinstance(item, dict):
        raise ManifestInvalid(f"{place} must be a descriptor")
    media_type, text, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(media_type, str) or not media_type:
        raise ManifestInvalid(f"{place}.mediaType must be a media type")
    if not isinstance(text, str):
        raise ManifestInvalid(f"{place}.digest must be a digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise ManifestInvalid(f"{place}.size must be a number of bytes")
    try:
        digest = Digest.parse(text)
    except MalformedDigest as error:
        raise ManifestInvalid(f"{place}.digest: {error}") from error
    elsewhere = bool(item.get("urls")) or media_type.startswith(
        (_DOCKER_FOREIGN, _OCI_NON_DISTRIBUTABLE)
    )
    return Named(digest, media_type, required=not elsewhere)


def _guessed(items: list[object]) -> Iterator[Named]:
    """Yield what looks like descriptors in a manifest of an unknown kind: kept, not required."""
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("digest"), str):
            try:
                digest = Digest.parse(item["digest"])
            except MalformedDigest:
                continue
            yield Named(digest, str(item.get("mediaType", "")), required=False)


def _text(document: Json, member: str) -> str:
    value = document.get(member)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 255:
        raise ManifestInvalid(f"{member} must be a text of at most 255 characters")
    return value


def _annotations(document: Json) -> Mapping[str, str]:
    annotations = document.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict) or not all(
        isinstance(value, str) for value in annotations.values()
    ):
        raise ManifestInvalid("annotations must be an object of texts")
    return annotations
