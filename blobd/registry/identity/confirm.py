"""Rights, asked again at the act that counts: a body may take minutes after its head was admitted.

A caller who was disabled, lost a role, or had a token revoked meanwhile is refused in the
transaction that would have changed something, so that nothing of it is visible. A token that merely
ran out meanwhile still counts for the request that it was shown with: that end was known from the
beginning, and an upload outlives its bearer token anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from blobd.http.errors import Unauthenticated
from blobd.registry.auth.decide import Decision, decide, role_of
from blobd.registry.auth.roles import Action
from blobd.registry.auth.scopes import on_repository
from blobd.registry.catalog.auth_queries import asked_within
from blobd.registry.catalog.repositories import find_repository
from blobd.registry.errors import (
    LoginNeeded,
    NameUnknown,
    PermissionDenied,
    ScopeMissing,
    TokenRefused,
)
from blobd.registry.identity.authenticator import subject_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.decide import PolicyFacts
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.names import RepositoryName


T = TypeVar("T")


class ConfirmedCatalog:
    """A `Catalog` for one request: what confirms its rights runs first in every transaction that
    changes something, and what it raises undoes all of it.
    """

    def __init__(self, catalog: Catalog, confirm: Callable[[Transaction], None]) -> None:
        self._catalog = catalog
        self._confirm = confirm
        self.reader = catalog.reader
        self.now = catalog.now
        self.may_lose_locks = catalog.may_lose_locks

    async def write(
        self, work: Callable[[Transaction], T], *, alone: bool = False, synced: bool = True
    ) -> T:
        """Return what the work returns, if the request may still do it. Raises why not."""

        def confirmed(transaction: Transaction) -> T:
            self._confirm(transaction)
            return work(transaction)

        return await self._catalog.write(confirmed, alone=alone, synced=synced)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what the work returns, without asking: it changes nothing."""
        return await self._catalog.read(work)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a request was admitted to do. Call it in the transaction that does it."""

    token_id: str
    """Empty where there are no identities."""
    repository: RepositoryName
    action: Action
    existed: bool
    """Whether the repository was there when the request was admitted."""

    def __call__(self, transaction: Transaction) -> None:
        """Raise what would refuse the request now: TokenRefused, NameUnknown, PermissionDenied.

        NameUnknown also where the repository was deleted meanwhile: a body that was under way does
        not make a new one of that name. Accounts are locked as in `speaking_within`.
        """
        if not self.token_id:
            if self.existed and find_repository(transaction, self.repository) is None:
                raise NameUnknown(self.repository)
            return
        try:
            subject = speaking_within(transaction, self.token_id)
        except Unauthenticated as error:
            error.scope = scope_of(self.repository, self.action)
            raise
        facts = asked_within(transaction, lambda callers: callers.facts(subject, self.repository))
        if self.existed and not facts.exists:
            raise NameUnknown(self.repository)
        check(subject, facts, self.repository, self.action)


def speaking_within(transaction: Transaction, token_id: str, *, alone: bool = False) -> Subject:
    """Return whom a token speaks for, which may have expired. Raises TokenRefused.

    On PostgreSQL the row of the account is locked, so that once a user is disabled or a token
    revoked, no act of theirs can commit. `alone`: against other acts of the account too, for an
    act that may lock that row once more, to change it.
    """
    if transaction.dialect == "postgresql":
        asked_within(transaction, lambda callers: callers.lock_account(token_id, alone=alone))
    facts = asked_within(transaction, lambda callers: callers.token_by_id(token_id))
    if facts is None:
        raise TokenRefused("the token behind this request", "is gone; log in again")
    return subject_of(facts)


def check(
    subject: Subject,
    facts: PolicyFacts,
    repository: RepositoryName,
    action: Action,
    asked: frozenset[str] | None = None,
) -> None:
    """Raise what refuses an action: LoginNeeded, NameUnknown, ScopeMissing, PermissionDenied.

    `asked` as in `decide`.
    """
    match decide(subject, facts, action, asked):
        case Decision.ALLOWED:
            return
        case Decision.LOGIN:
            raise LoginNeeded(f"{action.value} of {repository}", scope_of(repository, action))
        case Decision.UNKNOWN:
            raise NameUnknown(repository)
        case Decision.ASK:
            raise ScopeMissing(scope_of(repository, action))
        case Decision.FORBIDDEN:
            raise PermissionDenied(
                repository,
                who=subject.name,
                role=str(action.role),
                has=str(role_of(subject, facts)),
                scope=action.scope,
            )


def scope_of(repository: RepositoryName, action: Action) -> str:
    """Return what a client should ask its token for: pushing includes pulling."""
    words = [Action.READ.value] if action is Action.WRITE else []
    return str(on_repository(repository, *words, action.value))
