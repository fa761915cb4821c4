"""What a call of the API is: one value, from which come its route, its checks and its document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from blobd.registry.auth.roles import WRITE_PACKAGES

if TYPE_CHECKING:
    from aiohttp import web

    from blobd.database import Catalog
    from blobd.registry.identity.authenticator import Caller
    from blobd.registry.identity.rights import Demands, Right

PAGE_MAX = 10**7
"""Higher pages are this one: it is beyond every list's end, and its offset is one that a database
takes."""
PER_PAGE, PER_PAGE_MAX = 30, 100


@dataclass(frozen=True, slots=True)
class Call:
    """One request, whose caller is known."""

    request: web.BaseRequest
    caller: Caller
    demands: Demands
    """What the call has demanded of its caller so far."""
    base_url: str
    """Scheme and host as the client came."""
    page: int
    per_page: int

    @property
    def catalog(self) -> Catalog:
        """The catalog, which confirms what was demanded in every transaction that changes it."""
        return self.demands.catalog

    async def demand(self, right: Right) -> None:
        """Raise what the right raises unless the caller has it, now and at every change."""
        await self.demands.make(right)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and how long all of it is."""

    entries: list[dict[str, Any]]
    total: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a list that grows at its start, so that its pages have no numbers."""

    entries: list[dict[str, Any]]
    rest: Mapping[str, str] | None
    """What the query says for the entries that follow; None after the last."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to send but what the caller should know, in `Warning` lines."""

    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Changed:
    """What something is after a change, and what the caller should know, in `Warning` lines."""

    shape: dict[str, Any]
    warnings: Sequence[str] = ()


Answer = dict[str, Any] | list[dict[str, Any]] | Page | Stretch | Done | Changed | None
Handler = Callable[..., Awaitable[Answer]]
"""Takes a Call, then what path, query and body say, by name; returns what is to be sent as JSON."""


class Kind(Enum):
    """What a value is, by JSON Schema's word."""

    TEXT = "string"
    BOOLEAN = "boolean"
    NUMBER = "number"
    STRING_LIST = "array"


@dataclass(frozen=True, slots=True)
class Field:
    """A value in a body or a query."""

    what: str
    """What it is, for people."""
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    required: bool = False
    least: float | None = None
    most: float | None = None
    """Characters of a text; the largest of a number."""

    def schema(self) -> dict[str, Any]:
        """Return it as JSON Schema."""
        schema: dict[str, Any] = {"type": self.kind.value, "description": self.what}
        if self.kind is Kind.STRING_LIST:
            schema["items"] = {"type": "string", "enum": list(self.choices)}
            schema["minItems"] = 1
        elif self.choices:
            schema["enum"] = list(self.choices)
        if self.kind is Kind.NUMBER and self.least is not None:
            schema["minimum"] = self.least
        if self.most is not None:
            schema["maximum" if self.kind is Kind.NUMBER else "maxLength"] = self.most
        return schema


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path, as `/orgs/{owner}/packages`."""

    name: str
    """Its operationId."""
    method: str
    path: str
    summary: str
    handler: Handler
    answer: str | None = None
    """The schema of what comes back; None: 204 and nothing."""
    status: int = 200
    pages: bool = False
    query: Mapping[str, Field] = field(default_factory=dict)
    body: Mapping[str, Field] = field(default_factory=dict)
    scope: str | None = None
    """What the token has to be for; None: `write:packages` for all but GET."""

    @property
    def needed_scope(self) -> str:
        """The scope that a token needs; empty: any will do."""
        if self.scope is not None:
            return self.scope
        return "" if self.method == "GET" else WRITE_PACKAGES
