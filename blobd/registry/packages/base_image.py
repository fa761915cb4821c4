"""Whether an image's source label came with the image that it was built from.

A build takes the labels of its base over, and the configuration does not say which those are. It is
known only where the manifest names its base (`org.opencontainers.image.base.name`, image-spec,
annotations.md, which podman and buildah write and docker does when asked to), that base is in this
registry for the pusher to read, its layers and steps are the first ones of the image, and no later
step sets the label. Everything else is left unsaid.

What is found is for people to read. Nobody's rights depend on it: a history is whatever the builder
wrote.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blobd.digest import Digest, MalformedDigest
from blobd.registry.errors import NameInvalid, TagInvalid
from blobd.registry.names import parse_name, parse_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blobd.registry.names import RepositoryName, Tag

_NAME, _DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"
_NAME_MAX_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class NamedBase:
    """What a manifest says that it was built from."""

    repository: RepositoryName
    """By its path; the host is left out, as what is compared is the content."""
    tag: Tag | None
    digest: Digest | None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@{self.digest}"


def named_base(annotations: Mapping[str, str]) -> NamedBase | None:
    """Return the base that annotations name; None where they name none that could be here."""
    name = annotations.get(_NAME, "")
    if not name or len(name) > _NAME_MAX_CHARACTERS:
        return None
    _, _, path = name.partition("/")
    path, _, of_name = path.partition("@")
    path, colon, tag = path.partition(":")
    try:
        repository = parse_name(path)
        return NamedBase(
            repository,
            tag=parse_tag(tag) if colon else None,
            digest=_digest(annotations.get(_DIGEST) or of_name),
        )
    except (NameInvalid, TagInvalid):
        return None


def came_along(label: str, config: bytes, base: bytes) -> bool:
    """Return whether an image has a label from its base, as far as their configurations show.

    Takes time that grows with the content.
    """
    own, below = _Steps.read(config), _Steps.read(base)
    if own is None or below is None or not below.layers or not below.history:
        return False
    said = below.labels.get(label)
    return (
        isinstance(said, str)
        and own.labels.get(label) == said
        and own.layers[: len(below.layers)] == below.layers
        and own.history[: len(below.history)] == below.history
        and not any(label in step for step in own.history[len(below.history) :])
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """How an image was built, as its configuration has it (image-spec, config.md)."""

    labels: Mapping[str, object]
    layers: list[object]
    history: list[str]

    @classmethod
    def read(cls, config: bytes) -> _Steps | None:
        try:
            document: Any = json.loads(config)
            labels = document["config"]["Labels"]
            layers = document["rootfs"]["diff_ids"]
            history = [step.get("created_by", "") for step in document["history"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        is_one = isinstance(labels, dict) and isinstance(layers, list)
        if not is_one or not all(isinstance(step, str) for step in history):
            return None
        return cls(labels, layers, history)


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except MalformedDigest:
        return None
