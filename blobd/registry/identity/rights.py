"""Rights that calls of the API demand of their caller: at once, and again in the act's transaction.

A right is a function that raises why a subject lacks it, and reads what it needs in a
transaction: one that only reads when it is demanded, and the one of the act when it is confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from blobd.database import Transaction
from blobd.registry.auth.roles import Action, Role, Visibility
from blobd.registry.auth.subjects import Subject
from blobd.registry.catalog import accounts, sources
from blobd.registry.catalog.accounts import ORGANISATION, OWNER
from blobd.registry.catalog.auth_queries import asked_within
from blobd.registry.errors import NameUnknown, NotFound, PermissionDenied
from blobd.registry.identity.confirm import ConfirmedCatalog, check, speaking_within
from blobd.registry.names import fold_account

if TYPE_CHECKING:
    from collections.abc import Collection

    from blobd.database import Catalog
    from blobd.registry.names import RepositoryName

Right = Callable[[Transaction, Subject], None]


class Demands:
    """What one call has demanded of its caller. `catalog` confirms it before every change."""

    def __init__(self, catalog: Catalog, subject: Subject) -> None:
        self._subject = subject
        self._rights: list[Right] = []
        self._alone = False
        self.catalog: Catalog = ConfirmedCatalog(catalog, self._confirm)

    async def make(self, right: Right) -> None:
        """Demand a right now, and of every change that follows. Raises what the right raises."""
        await self.catalog.read(lambda transaction: right(transaction, self._subject))
        self._rights.append(right)

    def act_alone(self) -> None:
        """Let changes wait for all others of the caller's account, which this call may lock itself.

        For calls that shut out accounts or end tokens: two that had locked the caller's together
        to confirm it would then wait for each other.
        """
        self._alone = True

    def _confirm(self, transaction: Transaction) -> None:
        if not self._rights:
            raise AssertionError("a call changes something and demanded no right to it")
        subject = self._subject
        if subject.token_id:  # none where there are no identities
            subject = speaking_within(transaction, subject.token_id, alone=self._alone)
        for right in self._rights:
            right(transaction, subject)


def may(action: Action, repository: RepositoryName, package: str) -> Right:
    """Return the right to do something with a repository.

    Raises PermissionDenied; NotFound, of the package as the call named it, where it may not be
    read.
    """

    def right(transaction: Transaction, subject: Subject) -> None:
        standing = asked_within(transaction, lambda callers: callers.facts(subject, repository))
        try:
            check(subject, standing, repository, action)
        except NameUnknown:
            raise NotFound("package", package) from None

    return right


def administers(_transaction: Transaction, subject: Subject) -> None:
    """Raise PermissionDenied unless it is an administrator."""
    if not subject.is_administrator:
        raise _needs("the registry", subject, "administrator")


def owns(organisation: str) -> Right:
    """Return the right of an organisation's owners and of administrators.

    Raises NotFound where there is no such organisation, PermissionDenied.
    """

    def right(transaction: Transaction, subject: Subject) -> None:
        role = _membership(transaction, subject, organisation)
        if role != OWNER and not subject.is_administrator:
            raise _needs(organisation, subject, OWNER)

    return right


def belongs(organisation: str) -> Right:
    """Return the right of an organisation's members and of administrators. Raises as `owns`."""

    def right(transaction: Transaction, subject: Subject) -> None:
        role = _membership(transaction, subject, organisation)
        if role is None and not subject.is_administrator:
            raise _needs(organisation, subject, "member")

    return right


def owns_namespace(account: str) -> Right:
    """Return the right of a user to its own name, and of owners to an organisation's.

    Raises as `owns`.
    """

    def right(transaction: Transaction, subject: Subject) -> None:
        if subject.workflow is not None or subject.name != fold_account(account):
            owns(account)(transaction, subject)

    return right


def has_source_role(full_name: str, needed: Role) -> Right:
    """Return the right of a role in a source repository (OWNER/NAME). Raises NotFound."""

    def right(transaction: Transaction, subject: Subject) -> None:
        if _source_role(transaction, subject, full_name) < needed:
            raise NotFound("source repository", full_name)

    return right


def is_person(scopes: Collection[str]) -> Right:
    """Return the right of people, with a token for these scopes. Raises PermissionDenied."""

    def right(_transaction: Transaction, subject: Subject) -> None:
        missing = [scope for scope in scopes if not subject.has_scope(scope)]
        if subject.person_id is None or missing:
            raise PermissionDenied(
                "tokens", who=subject.name, role="owner", has="none", scope=" ".join(missing)
            )

    return right


def _membership(transaction: Transaction, subject: Subject, organisation: str) -> str | None:
    place = accounts.find_account(transaction, organisation)
    if place is None or place.kind != ORGANISATION:
        raise NotFound(ORGANISATION, organisation)
    if subject.person_id is None:
        return None
    return accounts.membership(transaction, place.account_id, subject.person_id)


def _source_role(transaction: Transaction, subject: Subject, full_name: str) -> Role:
    owner, _, name = full_name.partition("/")
    source = sources.find_source(transaction, owner, name)
    if source is None:
        return Role.NONE
    if subject.is_administrator:
        return Role.ADMIN
    if subject.person_id is None:
        return Role.NONE
    given = sources.role_of_person(transaction, source.source_id, subject.person_id)
    is_open = source.visibility != Visibility.PRIVATE
    return max(given, Role.READ if is_open else Role.NONE)


def _needs(where: str, subject: Subject, role: str) -> PermissionDenied:
    return PermissionDenied(
        where, who=subject.name, role=role, has="none", scope=Action.ADMINISTER.scope
    )
