"""Bearer tokens, issued: to whom, for what of what was asked, and for how long.

What is granted is what the subject may do now of what it asked for; less is no error (the token
specification). A token of no account is granted reads of what is public.

What a login costs is the look-ups of what it asks for, up to a thousand. So few are under way at a
time, out of which an account gets its share (`../../fairness.py`); and other requests go on between
two look-ups, also where those run on the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.fairness import FairPool, acting_for
from blobd.registry.auth.bearer import ACCESS, REFRESH, Claims
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.auth.decide import Decision, decide
from blobd.registry.auth.roles import Action
from blobd.registry.auth.scopes import CATALOG, Scope
from blobd.registry.catalog.auth_queries import AuthQueries
from blobd.registry.errors import NameInvalid
from blobd.registry.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blobd.config import Limits
    from blobd.database import Catalog
    from blobd.registry.auth.bearer import Keyring
    from blobd.registry.auth.subjects import Subject

ACCESS_LIFETIME_S = 300
"""How long a bearer token counts; what its holder may do is looked up all the same."""
REFRESH_LIFETIME_S = 90 * 86_400

_AT_A_TIME = 8

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

    def __init__(self, catalog: Catalog, keyring: Keyring, limits: Limits) -> None:
        self._catalog = catalog
        self._callers = AuthQueries(catalog.reader)
        self._keyring = keyring
        self._under_way = FairPool(
            _AT_A_TIME, share=limits.account_share, wait_s=limits.budget_wait_s, what="logins"
        )

    async def access(self, subject: Subject, asked: Iterable[Scope]) -> Issued:
        """Return a token for what a subject may do of what it asks for.

        Uses its account's share of what logins may be under way (`acting_for`). Raises AccountBusy,
        TooManyScopes, BackendUnavailable.
        """
        granted: list[Scope] = []
        async with self._under_way.hold(acting_for()):
            for scope in asked:
                found = await self._granted(subject, scope)
                granted += [] if found is None else [found]
                await asyncio.sleep(0)
            return await self._issue(subject, ACCESS, tuple(granted), ACCESS_LIFETIME_S)

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
        facts = await self._callers.facts(subject, repository)
        allowed = [
            word for word in wanted if decide(subject, facts, _ACTIONS[word]) is Decision.ALLOWED
        ]
        # a caller who can create a package will want to read it: the token then covers both
        if Action.WRITE.value in allowed and not facts.exists:
            allowed += wanted & {Action.READ.value}
        return Scope("repository", repository, frozenset(allowed)) if allowed else None
