"""Names in the registry: repositories, tags, references; grammar only (R8-R10)."""

from __future__ import annotations

import re
from typing import NewType

from blobd.digest import Digest
from blobd.registry.errors import AccountInvalid, NameInvalid, TagInvalid

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
    """Return the name of an account, a team or a source repository, as it is kept.

    It is one part of a repository's name, so in small letters. Raises AccountInvalid.
    """
    if not is_account(text):
        raise AccountInvalid(text, ACCOUNT_MAX_CHARACTERS)
    return fold_account(text)


def is_account(text: str) -> bool:
    """Return whether there can be an account, a team or a source repository of that name."""
    folded = fold_account(text)
    return len(text) <= ACCOUNT_MAX_CHARACTERS and _PART_ALONE.fullmatch(folded) is not None


def fold_account(text: str) -> str:
    """Return the one spelling of a name of an account, a team or a source repository.

    Small and capital letters are the same, as a client writes namespaces in small ones. What is
    not ASCII stays: no such name is kept, and some of its letters would become ASCII (U+212A).
    """
    return text.lower() if text.isascii() else text


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
