"""Scopes: what a client asks a bearer token for, and what a challenge asks for.

The grammar of distribution's `scope.md`: `repository:acme/app:pull,push`, several separated by
spaces. A name may hold a port, so the type ends at the first colon and the actions begin after
the last one. Whatever is not understood asks for nothing, and is no error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.errors import TooManyScopes

if TYPE_CHECKING:
    from collections.abc import Iterable

PULL, PUSH, DELETE = "pull", "push", "delete"
_KIND = re.compile(r"(?P<kind>[a-z0-9]+)(?:\([a-z0-9]+\))?")
_ACTIONS = re.compile(r"(?:[a-z]+|\*)(?:,(?:[a-z]+|\*))*")
_MAX_CHARACTERS = 1024

MAX_SCOPES = 1000
"""How many resources one token may cover: their hashes fit into a header (`coverage.py`)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions on one resource, asked for or granted."""

    kind: str
    """`repository` or `registry`; others are kept, and never granted."""
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


CATALOG = Scope("registry", "catalog", frozenset("*"))
"""The list of all repositories."""


def parse_scopes(values: Iterable[str]) -> tuple[Scope, ...]:
    """Return what a client asks for, whether it repeats `scope=` or separates by spaces.

    Equal resources are joined, in the order of their first naming; what is malformed is passed
    over. Raises TooManyScopes.
    """
    asked: dict[tuple[str, str], frozenset[str]] = {}
    for text in (text for value in values for text in value.split()):
        scope = _parse(text)
        if scope is not None:
            key = scope.kind, scope.name
            asked[key] = asked.get(key, frozenset()) | scope.actions
    if len(asked) > MAX_SCOPES:
        raise TooManyScopes(len(asked), MAX_SCOPES)
    return tuple(Scope(kind, name, actions) for (kind, name), actions in asked.items())


def on_repository(name: str, *actions: str) -> Scope:
    """Return the scope of these actions on a repository."""
    return Scope("repository", name, frozenset(actions))


def _parse(text: str) -> Scope | None:
    head, _, rest = text.partition(":")
    name, _, actions = rest.rpartition(":")
    kind = _KIND.fullmatch(head)
    if len(text) > _MAX_CHARACTERS or kind is None or not name:
        return None
    if _ACTIONS.fullmatch(actions) is None:
        return None
    # `repository(plugin)` is what docker called plugins; they were repositories all the same.
    return Scope(kind["kind"], name, frozenset(actions.split(",")))


@dataclass(frozen=True, slots=True)
class Challenge:
    """A `WWW-Authenticate` value: where to get a token, and for what (RFC 6750, section 3)."""

    realm: str
    service: str
    scopes: tuple[Scope, ...] = ()
    error: str | None = None
    """`invalid_token` or `insufficient_scope`."""

    def __str__(self) -> str:
        parts = [f'realm="{self.realm}"', f'service="{self.service}"']
        if self.scopes:
            parts.append(f'scope="{" ".join(map(str, self.scopes))}"')
        if self.error is not None:
            parts.append(f'error="{self.error}"')
        return f"Bearer {','.join(parts)}"
