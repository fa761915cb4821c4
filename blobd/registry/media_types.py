"""Media types: which ones manifests have, and how any two compare.

A media type is `type/subtype`, in any letter case, with parameters and whitespace around them that
mean nothing here (RFC 9110, section 8.3.1). Whatever compares media types compares what
`normalised` returns.

A manifest is answered with its registered spelling where blobd recognises it, whatever spelling it
was pushed under: clients compare byte by byte. Any other keeps the letters it was pushed with;
parameters are never sent (distribution-spec, "Pulling manifests").
"""

from __future__ import annotations

import re

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = IMAGES | INDEXES | {OCI_ARTIFACT}
"""What is recognised, and held to its specification."""
IMAGE_CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)

MAX_CHARACTERS = 255
"""Two names of 127 characters and a slash (RFC 6838, section 4.2)."""

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_UNKNOWN_MANIFEST = re.compile(r"application/(?:vnd\..+|.+\+json)")
_WHITESPACE = " \t"
_OPAQUE = "application/octet-stream"


def without_parameters(text: str) -> str:
    """Return a media type in its own letters, without parameters and whitespace."""
    return text.partition(";")[0].strip(_WHITESPACE)


def normalised(text: str) -> str:
    """Return the form in which equal media types are equal texts."""
    bare = without_parameters(text)
    # beyond ASCII some letters become ASCII in lower case, and no media type has any
    return bare.lower() if bare.isascii() else bare


def is_media_type(text: str) -> bool:
    """Return whether a text is `type/subtype` (RFC 6838, section 4.2)."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def may_be_manifest(text: str) -> bool:
    """Return whether a manifest may be pushed under a media type, recognised or not.

    Those are `application/*+json` and `application/vnd.*`, but nothing that ends in `+xml`:
    browsers run scripts in documents of such types, under the registry's own origin.
    """
    wanted = normalised(text)
    return (
        is_media_type(wanted)
        and _UNKNOWN_MANIFEST.fullmatch(wanted) is not None
        and not wanted.endswith("+xml")
    )


def as_stored(text: str) -> str:
    """Return the spelling under which a manifest of this type is kept and answered."""
    wanted = normalised(text)
    return wanted if wanted in MANIFESTS else without_parameters(text)


def as_answered(text: str) -> str:
    """Return the Content-Type of a stored manifest, which an older blobd may have let in."""
    return text if may_be_manifest(text) else _OPAQUE


def is_schema_1(text: str) -> bool:
    """Return whether it is Docker's withdrawn format, whose digest is not of the bytes sent."""
    return normalised(text).startswith(_SCHEMA_1)
