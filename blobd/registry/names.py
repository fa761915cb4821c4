"""Names in the registry: repositories, tags, references; grammar only (R8-R10)."""

from __future__ import annotations

import re
from typing import NewType

from blobd.digest import Digest
from blobd.errors import AccountInvalid, NameInvalid, TagInvalid

RepositoryName = NewType("RepositoryName", str)
"""`namespace/image[/more]`, checked."""

Tag = NewType("Tag", str)
"""A mutable name of one manifest in a repository, checked."""

Reference = Digest | Tag

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_PART_ALONE = re.compile(_PART)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_NAME_CHARACTERS = 255
ACCOUNT_MAX_CHARACTERS = 100


def parse_name(text: str) -> RepositoryName:
    """Return a repository name (R8). Raises NameInvalid."""
    if len(text) > _MAX_NAME_CHARACTERS or _NAME.fullmatch(text) is None:
        raise NameInvalid(text)
    return RepositoryName(text)


def parse_account(text: str) -> str:
    """Return the name of an account, a team or a source repository: one part of a name.

    Raises AccountInvalid.
    """
    if not is_account(text):
        raise AccountInvalid(text, ACCOUNT_MAX_CHARACTERS)
    return text


def is_account(text: str) -> bool:
    """Return whether there can be an account, a team or a source repository of that name."""
    return len(text) <= ACCOUNT_MAX_CHARACTERS and _PART_ALONE.fullmatch(text) is not None


def parse_tag(text: str) -> Tag:
    """Return a tag (R9). Raises TagInvalid."""
    if _TAG.fullmatch(text) is None:
        raise TagInvalid(text)
    return Tag(text)


def parse_reference(text: str) -> Reference:
    """Return what a manifest is asked for by: a digest where there is a colon, else a tag (R10).

    Raises MalformedDigest or TagInvalid.
    """
    return Digest.parse(text) if ":" in text else parse_tag(text)
