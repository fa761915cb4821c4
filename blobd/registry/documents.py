"""Reading manifests: what a document is, what it names, whether it may be stored. No I/O.

The bytes themselves are never changed and unknown properties pass (R14); what is checked is what
pulling clients and garbage collection have to rely on. Where a manifest departs from its
specification in a way that leaves its meaning plain, it is taken and its pusher is warned.

Every descriptor is kept from collection, wherever it stands in the document; only those whose
meaning is known have to be here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from blobd.database import texts
from blobd.digest import Digest, MalformedDigest
from blobd.registry import media_types
from blobd.registry.errors import ManifestInvalid
from blobd.registry.media_types import (
    IMAGES,
    INDEXES,
    MANIFESTS,
    OCI_ARTIFACT,
    OCI_INDEX,
    OCI_MANIFEST,
    normalised,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_SIZE = 2**63 - 1
_OTHERS_MAX = 10_000
"""Digests outside of the places that a specification names, in one manifest."""
_PLACE_MAX = 160

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Named:
    """Something that a manifest names."""

    digest: Digest
    media_type: str
    """In the descriptor's own letters; empty where it has none."""
    size_bytes: int | None
    """As the descriptor says; None where it says nothing of use."""
    place: str
    """Where the descriptor stands, for people: `layers[0]`."""
    required: bool
    """False where it may live elsewhere: descriptors with `urls` (R48)."""

    @property
    def is_manifest(self) -> bool:
        """Whether it can only be a manifest; anything else that an index names may be a blob."""
        return normalised(self.media_type) in MANIFESTS


@dataclass(frozen=True, slots=True)
class Document:
    """What blobd has to know of a manifest."""

    media_type: str
    """Registered spelling where it is recognised, otherwise as it was pushed."""
    blobs: tuple[Named, ...]
    children: tuple[Named, ...]
    """What an index lists."""
    others: tuple[Named, ...]
    """Whatever else has a digest, but for the subject: kept, and not required."""
    subject: Digest | None
    artifact_type: str | None
    """As referrers are filtered by: the manifest's own, else an image's config type (R61)."""
    annotations: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    """What departs from the specification and was taken all the same."""

    @property
    def recognised(self) -> bool:
        """Whether blobd knows what this kind of manifest means."""
        return self.media_type in MANIFESTS


def read_document(content: bytes, content_type: str | None) -> Document:
    """Return what a manifest says. `content_type` is the request's header, if there was one.

    Raises ManifestInvalid, naming the place. Takes time that grows with the content.
    """
    document = _parse(content)
    return _Reading(document, _media_type(document, content_type)).read()


class _Reading:
    """One document being read, and what its pusher is to be warned of."""

    def __init__(self, document: Json, media_type: str) -> None:
        self._document = document
        self._media_type = media_type
        self._recognised = media_type in MANIFESTS
        self._warnings: list[str] = []

    def read(self) -> Document:
        if self._recognised:
            self._check_shape()
        blobs: list[Named] = []
        children: list[Named] = []
        if self._media_type in IMAGES:
            config = self._descriptor(self._document.get("config"), "config")
            blobs = [config, *self._list("layers")]
        elif self._media_type in INDEXES:
            children = list(self._list("manifests"))
        elif self._media_type == OCI_ARTIFACT:
            blobs = list(self._list("blobs"))
        return Document(
            media_type=self._media_type,
            blobs=tuple(blobs),
            children=tuple(children),
            others=self._others({named.digest for named in (*blobs, *children)}),
            subject=self._subject(),
            artifact_type=self._artifact_type(blobs),
            annotations=self._annotations(),
            warnings=tuple(self._warnings),
        )

    def _check_shape(self) -> None:
        """Hold a recognised kind to what its specification requires.

        A document that could be read as an image and as an index is refused (CVE-2021-41190).
        """
        if self._media_type != OCI_ARTIFACT and self._document.get("schemaVersion") != 2:
            raise ManifestInvalid("schemaVersion must be 2")
        if self._media_type in INDEXES:
            foreign = ["config", "layers", "fsLayers"]
        else:
            foreign = ["manifests", "fsLayers"]
        for name in foreign:
            if self._document.get(name) is not None:
                raise ManifestInvalid(f"{name} does not belong into {self._media_type}")
        if self._media_type in IMAGES and "config" not in self._document:
            raise ManifestInvalid("config is missing")

    def _list(self, member: str) -> Iterator[Named]:
        """Yield what a list of descriptors names; null is an empty list, as Go writes it."""
        if member not in self._document and self._media_type != OCI_ARTIFACT:
            self._warnings.append(f"{member} is missing; it is read as an empty list")
        items = self._document.get(member)
        if items is None:
            return
        if not isinstance(items, list):
            raise ManifestInvalid(f"{member} must be a list")
        for number, item in enumerate(items):
            yield self._descriptor(item, f"{member}[{number}]")

    def _descriptor(self, item: object, place: str) -> Named:
        if not isinstance(item, dict):
            raise ManifestInvalid(f"{place} must be a descriptor")
        media_type, size = item.get("mediaType"), item.get("size")
        if media_type is None or media_type == "":
            self._warnings.append(f"{place} has no mediaType")
            media_type = ""
        if not isinstance(media_type, str):
            raise ManifestInvalid(f"{place}.mediaType must be a media type")
        digest = _digest(item, place)
        if _size(size) is None:
            raise ManifestInvalid(f"{place}.size must be a number of bytes")
        return Named(digest, media_type, size, place, required=not _has_urls(item))

    def _others(self, named: set[Digest]) -> tuple[Named, ...]:
        """Return what else has a digest, anywhere; each digest once."""
        found: dict[Digest, Named] = {}
        for place, item in _objects(self._document):
            if place == "subject":
                continue
            try:
                digest = _digest(item, place)
            except ManifestInvalid:
                continue
            if digest not in named and digest not in found:
                media_type = item.get("mediaType")
                text = media_type if isinstance(media_type, str) else ""
                # without a media type it is no descriptor, and its size may be of anything
                size = _size(item.get("size")) if text else None
                found[digest] = Named(digest, text, size, place, required=False)
                if len(found) > _OTHERS_MAX:
                    raise ManifestInvalid(
                        f"the manifest names more than {_OTHERS_MAX} digests in places that "
                        "no specification knows"
                    )
        return tuple(found.values())

    def _subject(self) -> Digest | None:
        subject = self._document.get("subject")
        if subject is None:
            return None
        if not isinstance(subject, dict):
            raise ManifestInvalid("subject must be a descriptor")
        digest = _digest(subject, "subject")
        media_type, size = subject.get("mediaType"), _size(subject.get("size"))
        if not isinstance(media_type, str) or not media_type or not size:
            self._warnings.append(f"subject says no more than its digest, {str(digest)[:40]}")
        return digest

    def _artifact_type(self, blobs: list[Named]) -> str | None:
        own = self._document.get("artifactType")
        if own is not None and not isinstance(own, str):
            raise ManifestInvalid("artifactType must be a media type")
        if own:
            return self._storable("artifactType", own)
        if self._media_type in IMAGES:
            return self._storable("config.mediaType", blobs[0].media_type) or None
        return None

    def _storable(self, place: str, text: str) -> str | None:
        why = texts.problem(text, most=media_types.MAX_CHARACTERS)
        if why is None:
            return text
        self._warnings.append(f"{place} {why}; referrers are listed without it")
        return None

    def _annotations(self) -> Mapping[str, str]:
        annotations = self._document.get("annotations")
        if annotations is None:
            return {}
        if not isinstance(annotations, dict):
            raise ManifestInvalid("annotations must be an object of texts")
        if not all(value is None or isinstance(value, str) for value in annotations.values()):
            raise ManifestInvalid("annotations must be an object of texts")
        kept = {key: value for key, value in annotations.items() if value is not None}
        if len(kept) < len(annotations):
            self._warnings.append("annotations that are null are left out")
        return kept


def _parse(content: bytes) -> Json:
    """Parse I-JSON (RFC 7493): UTF-8, no member twice, no lone surrogates, finite numbers."""
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_integer,
        )
        if b"\\u" in content:
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise ManifestInvalid("the manifest is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"the manifest is not UTF-8 from byte {error.start} on") from error
    except UnicodeEncodeError as error:
        raise ManifestInvalid("the manifest is not I-JSON: half a surrogate pair") from error
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


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's advice on how to allow more digits is not for clients
        raise ValueError(f"a number has {len(text)} digits") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _media_type(document: Json, content_type: str | None) -> str:
    """Return the media type, which header and body must agree on (R42)."""
    inside = document.get("mediaType")
    if inside is not None and not isinstance(inside, str):
        raise ManifestInvalid("mediaType must be a media type")
    said = media_types.without_parameters(content_type or "")
    media_type = said or inside or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
    bare = media_types.without_parameters(media_type)
    if not media_types.is_media_type(bare):
        raise ManifestInvalid(f"{media_type[:140]!r} is not a media type")
    if inside and normalised(inside) != normalised(media_type):
        raise ManifestInvalid(
            f"Content-Type is {media_type}, but the manifest's mediaType is {inside[:140]!r}"
        )
    if media_types.is_schema_1(media_type):
        raise ManifestInvalid("Docker's schema 1 is not supported; push schema 2 or an OCI image")
    if not media_types.may_be_manifest(media_type):
        raise ManifestInvalid(
            f"{bare} is no manifest's media type: manifests have application/*+json or "
            f"application/vnd.*; push an OCI image manifest ({OCI_MANIFEST}), and anything else "
            "as a blob"
        )
    return media_types.as_stored(media_type)


def _digest(item: Json, place: str) -> Digest:
    text = item.get("digest")
    if not isinstance(text, str):
        raise ManifestInvalid(f"{place}.digest must be a digest")
    try:
        return Digest.parse(text)
    except MalformedDigest as error:
        raise ManifestInvalid(f"{place}.digest: {error}") from error


def _has_urls(item: Mapping[str, Any]) -> bool:
    """Return whether a descriptor says where else its content is.

    The media type of a foreign layer is not enough: without a URL nobody could fetch it.
    """
    urls = item.get("urls")
    return isinstance(urls, list) and any(isinstance(url, str) and url for url in urls)


def _size(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE:
        return value
    return None


def _objects(document: Json) -> Iterator[tuple[str, Json]]:
    """Yield every object in a document with its place; the depth is what the parser allowed."""
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            yield place, value
            named = (
                (f"{place}.{name[:40]}".removeprefix("."), inner) for name, inner in value.items()
            )
        elif isinstance(value, list):
            named = ((f"{place}[{number}]", inner) for number, inner in enumerate(value))
        else:
            continue
        for inner_place, inner in named:
            if isinstance(inner, dict | list):
                # what lies deeper keeps a shorter place: a hostile document is deep and wide
                waiting.append((inner_place if len(inner_place) <= _PLACE_MAX else place, inner))
