"""The order of tags as people read them: `latest`, then versions from the newest, then the rest.

A tag is a version where it is one or more numbers with dots between them, with or without a `v`
before and a suffix behind (`1.10.0`, `v2`, `3.12-slim`, `1.0.0-rc.1`). As Semantic Versioning has
it (2.0.0, section 11), numbers count as numbers, and a pre-release comes before its release; other
suffixes are variants of a release.
"""

from __future__ import annotations

import re

_VERSION = re.compile(r"[vV]?(\d+(?:\.\d+)*)(?:[-_+.](.+)|((?:a|b|rc|alpha|beta)\d*))?")
_PRE_RELEASE = re.compile(
    r"(?:a|b|m|rc|pre|dev|alpha|beta|next|canary|nightly|preview|snapshot)(?![a-z])", re.IGNORECASE
)
_ATTACHED = re.compile(r"sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})(?:\.[a-z]+)?")
_CHUNK = re.compile(r"\d+|[^\d]+")

_ATTACHMENT, _OTHER, _RELEASE, _LATEST = range(4)

Key = tuple[int, tuple[int, ...], int, tuple[tuple[int, int, str], ...]]


def newest_first(names: list[str]) -> list[str]:
    """Return tags in the order of versions, the newest first."""
    by_name = sorted(names)
    return sorted(by_name, key=_key, reverse=True)


def is_attachment(name: str) -> bool:
    """Return whether a tag only says what its manifest is attached to, as cosign names them."""
    return _ATTACHED.fullmatch(name) is not None


def _key(name: str) -> Key:
    """Return what a tag sorts by, ascending."""
    if name == "latest":
        return _LATEST, (), 0, ()
    if is_attachment(name):
        return _ATTACHMENT, (), 0, ()
    match = _VERSION.fullmatch(name)
    if match is None:
        return _OTHER, (), 0, ()
    numbers = tuple(int(number) for number in match[1].split("."))
    suffix = match[2] or match[3] or ""
    if not suffix:
        return _RELEASE, numbers, 2, ()
    chunks = tuple(
        (0, int(chunk), "") if chunk.isdigit() else (1, 0, chunk)
        for chunk in _CHUNK.findall(suffix)
    )
    return _RELEASE, numbers, 0 if _PRE_RELEASE.match(suffix) else 1, chunks
