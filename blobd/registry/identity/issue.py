"""Bearer tokens, issued: to whom, for what of what was asked, and for how long.

What is granted is what the subject may do now of what it asked for; less is no error (the token
specification). A token of no account is granted reads of what is public.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.auth.bearer import ACCESS, REFRESH, Claims
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.auth.decide import Verdict, decide
from blobd.registry.auth.roles import Action
from blobd.registry.auth.scopes import CATALOG, Scope
from blobd.registry.catalog.callers import Callers
from blobd.registry.errors import NameInvalid
from blobd.registry.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blobd.database import Catalog
    from blobd.registry.auth.bearer import Keyring
    from blobd.registry.auth.subjects import Subject

ACCESS_LIFETIME_S = 300
"""How long a bearer token counts; what its holder may do is looked up all the same."""
REFRESH_LIFETIME_S = 90 * 86_400

_ACTIONS = {action.value: action for action in (Action.READ, Action.WRITE, Action.DELETE)}


@dataclass(frozen=True, slots=True)
class Issued:
    """A bearer token, to be shown once."""

    token: str
    scopes: tuple[Scope, ...]
    issued_at: float
    expires_in_s: int


class Issuer:
    """Issues bearer tokens. One per process."""

    def __init__(self, catalog: Catalog, keyring: Keyring) -> None:
        self._catalog = catalog
        self._callers = Callers(catalog.reader)
        self._keyring = keyring

    async def access(self, subject: Subject, asked: Iterable[Scope]) -> Issued:
        """Return a token for what a subject may do of what it asks for."""
        granted = [await self._granted(subject, scope) for scope in asked]
        scopes = tuple(scope for scope in granted if scope is not None)
        return await self._issue(subject, ACCESS, scopes, ACCESS_LIFETIME_S)

    async def refresh(self, subject: Subject) -> Issued:
        """Return a token that gets bearer tokens, for as long as the one behind it counts."""
        return await self._issue(subject, REFRESH, (), REFRESH_LIFETIME_S)

    async def _issue(
        self, subject: Subject, use: str, scopes: tuple[Scope, ...], lifetime_s: int
    ) -> Issued:
        now = self._catalog.now()
        covers = NamedScopes(scopes)
        claims = Claims(use, subject.name, subject.token_id, covers, now, now + lifetime_s)
        return Issued(await self._keyring.sign(claims), scopes, now, lifetime_s)

    async def _granted(self, subject: Subject, asked: Scope) -> Scope | None:
        if (asked.kind, asked.name) == (CATALOG.kind, CATALOG.name):
            return CATALOG if subject.signed_in else None
        if asked.kind != "repository":
            return None
        try:
            repository = parse_name(asked.name)
        except NameInvalid:
            return None
        wanted = _ACTIONS.keys() if "*" in asked.actions else _ACTIONS.keys() & asked.actions
        standing = await self._callers.standing(subject, repository)
        allowed = [
            word for word in wanted if decide(subject, standing, _ACTIONS[word]) is Verdict.ALLOWED
        ]
        # who may make a package will want to read it: then the same token covers both
        if Action.WRITE.value in allowed and not standing.exists:
            allowed += wanted & {Action.READ.value}
        return Scope("repository", repository, frozenset(allowed)) if allowed else None
