"""Reads of what a request's authorization depends on.

Asked by every request, so they are statements for a `Reader`, as those in `read_queries.py` are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from blobd.registry.auth.decide import PolicyFacts
from blobd.registry.auth.roles import Role, Visibility

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from blobd.database import Reader, Transaction
    from blobd.registry.auth.subjects import Subject, WorkflowOf
    from blobd.registry.names import RepositoryName

T = TypeVar("T")

_FACTS = """
    SELECT t.id, t.kind, t.source_id, t.scopes, t.hint, t.expires_at, t.revoked_at,
           a.id, a.name, a.is_administrator, a.disabled_at
    FROM tokens AS t JOIN accounts AS a ON a.id = t.account_id
"""
_TOKEN_BY_HASH = f"{_FACTS} WHERE t.secret_hash = ?"
_TOKEN_BY_ID = f"{_FACTS} WHERE t.id = ?"
_ACCOUNT = "SELECT id FROM accounts WHERE id = (SELECT account_id FROM tokens WHERE id = ?)"
_LOCKED = f"{_ACCOUNT} FOR SHARE"
_LOCKED_ALONE = f"{_ACCOUNT} FOR NO KEY UPDATE"
_PACKAGE = """
    SELECT r.id, p.owner_id, p.visibility, p.inherits, p.source_id, s.owner_id
    FROM repositories AS r
    LEFT JOIN packages AS p ON p.repository_id = r.id
    LEFT JOIN sources AS s ON s.id = p.source_id
    WHERE r.name = ?
"""
_NAMESPACE = """
    SELECT a.id, m.role
    FROM accounts AS a
    LEFT JOIN memberships AS m ON m.organisation_id = a.id AND m.account_id = ?
    WHERE a.{column} = ?
"""
_NAMESPACE_BY_NAME = _NAMESPACE.format(column="name")
_NAMESPACE_BY_ID = _NAMESPACE.format(column="id")
_OWNS = "SELECT 1 FROM memberships WHERE organisation_id = ? AND account_id = ? AND role = 'owner'"
_GRANTEE = """
    (grantee_kind = 'user' AND grantee_id = ?)
    OR (grantee_kind = 'team'
        AND grantee_id IN (SELECT team_id FROM team_members WHERE account_id = ?))
"""
_PACKAGE_ROLES = f"SELECT role FROM package_roles WHERE repository_id = ? AND ({_GRANTEE})"  # noqa: S608
_SOURCE_ROLES = f"SELECT role FROM source_roles WHERE source_id = ? AND ({_GRANTEE})"  # noqa: S608
_GRANTS = "SELECT role FROM package_grants WHERE repository_id = ? AND source_id = ? AND kind = ?"
_SOURCE_OWNER = "SELECT owner_id FROM sources WHERE id = ?"

_ORGANISATIONS = """
    SELECT a.name
    FROM memberships AS m JOIN accounts AS a ON a.id = m.organisation_id
    WHERE m.account_id = ?
    ORDER BY a.name
    LIMIT 20
"""
_SOURCE_NAMESPACE = """
    SELECT a.name FROM sources AS s JOIN accounts AS a ON a.id = s.owner_id WHERE s.id = ?
"""

_SOURCE_NAME = """
    SELECT a.name, s.name FROM sources AS s JOIN accounts AS a ON a.id = s.owner_id WHERE s.id = ?
"""

_NOBODY = -1
"""An account id that none has."""


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """A token and whose it is, whether or not it still counts."""

    token_id: str
    kind: str
    source_id: int | None
    scopes: frozenset[str]
    hint: str
    """Its first characters, by which its owner knows it."""
    expires_at: float | None
    revoked_at: float | None
    account_id: int
    account: str
    is_administrator: bool
    disabled_at: float | None


@dataclass(frozen=True, slots=True)
class _Package:
    """A repository's row, and what it is linked to; `visibility` None where it is no package."""

    repository_id: int
    owner_id: int | None
    visibility: str | None
    inherits: bool
    source_id: int | None
    source_owner_id: int | None


class AuthQueries:
    """The event loop's reads about callers. Raises BackendUnavailable throughout."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def token_by_hash(self, secret_hash: str) -> TokenFacts | None:
        """Return the token of a secret."""
        return _token(await self._reader.rows(_TOKEN_BY_HASH, secret_hash))

    async def token_by_id(self, token_id: str) -> TokenFacts | None:
        """Return a token."""
        return _token(await self._reader.rows(_TOKEN_BY_ID, token_id))

    async def lock_account(self, token_id: str, *, alone: bool) -> None:
        """Keep the account of a token and its tokens as they are until the transaction ends.

        On PostgreSQL, in a transaction. What is read next is what they are: a statement that
        waited for the lock itself would have read before. Others may hold the lock too, unless it
        is `alone`.
        """
        await self._reader.rows(_LOCKED_ALONE if alone else _LOCKED, token_id)

    async def facts(self, subject: Subject, repository: RepositoryName) -> PolicyFacts:
        """Return how a subject stands to a repository, or to the name of none."""
        found = await self._reader.rows(_PACKAGE, repository)
        package = _Package(*found[0]) if found else None
        owns, belongs = await self._in_namespace(subject, repository, package)
        visibility, granted = Visibility.PRIVATE, Role.NONE
        if package is not None:
            visibility = Visibility(package.visibility or Visibility.PRIVATE)
            granted = await self._granted(subject, package)
        return PolicyFacts(
            exists=package is not None,
            visibility=visibility,
            owns=owns,
            belongs=belongs,
            granted=granted,
        )

    async def namespaces(self, subject: Subject) -> list[str]:
        """Return where a subject may make packages: its own name first, then 20 organisations."""
        if subject.workflow is not None:
            rows = await self._reader.rows(_SOURCE_NAMESPACE, subject.workflow.source_id)
            return [row[0] for row in rows]
        if subject.person_id is None:
            return []
        rows = await self._reader.rows(_ORGANISATIONS, subject.person_id)
        return [subject.name, *(row[0] for row in rows)]

    async def has_namespace(self, name: str) -> bool:
        """Return whether there is an account of a name."""
        return bool(await self._reader.rows(_NAMESPACE_BY_NAME, _NOBODY, name))

    async def source_name(self, workflow: WorkflowOf) -> str:
        """Return `OWNER/NAME` of the source repository that a workflow is of."""
        rows = await self._reader.rows(_SOURCE_NAME, workflow.source_id)
        return "/".join(rows[0]) if rows else ""

    async def _in_namespace(
        self, subject: Subject, repository: RepositoryName, package: _Package | None
    ) -> tuple[bool, bool]:
        person = _NOBODY if subject.person_id is None else subject.person_id
        if package is not None and package.owner_id is not None:
            found = await self._reader.rows(_NAMESPACE_BY_ID, person, package.owner_id)
        else:
            namespace = repository.partition("/")[0]
            found = await self._reader.rows(_NAMESPACE_BY_NAME, person, namespace)
        if not found:
            return False, False
        account_id, role = found[0]
        if subject.workflow is not None:
            owner = await self._reader.rows(_SOURCE_OWNER, subject.workflow.source_id)
            return False, bool(owner) and owner[0][0] == account_id
        own = account_id == subject.person_id
        return own or role == "owner", own or role is not None

    async def _granted(self, subject: Subject, package: _Package) -> Role:
        if subject.workflow is not None:
            return await self._granted_to_workflow(subject.workflow, package)
        if subject.person_id is None:
            return Role.NONE
        person = subject.person_id
        own = _best(await self._reader.rows(_PACKAGE_ROLES, package.repository_id, person, person))
        if not package.inherits or package.source_id is None or package.source_owner_id is None:
            return own
        if package.source_owner_id == person:
            return Role.ADMIN
        if await self._reader.rows(_OWNS, package.source_owner_id, person):
            return Role.ADMIN
        inherited = await self._reader.rows(_SOURCE_ROLES, package.source_id, person, person)
        return max(own, _best(inherited))

    async def _granted_to_workflow(self, workflow: WorkflowOf, package: _Package) -> Role:
        return _best(
            await self._reader.rows(
                _GRANTS, package.repository_id, workflow.source_id, workflow.kind
            )
        )


def asked_within(
    transaction: Transaction, ask: Callable[[AuthQueries], Coroutine[Any, Any, T]]
) -> T:
    """Return what callers' reads return to `ask`, as a transaction sees it."""
    asking = ask(AuthQueries(_Within(transaction)))
    try:
        asking.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    asking.close()
    raise AssertionError("a read within a transaction has its rows at once")


class _Within:
    """Reads of a transaction, as a `Reader` that never suspends."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        return self._transaction.rows(statement, *values)


def _best(rows: Iterable[Sequence[Any]]) -> Role:
    return max((Role.parse(row[0]) for row in rows), default=Role.NONE)


def _token(rows: Sequence[Sequence[Any]]) -> TokenFacts | None:
    if not rows:
        return None
    token_id, kind, source_id, scopes, hint, expires_at, revoked_at, *account = rows[0]
    account_id, name, is_administrator, disabled_at = account
    return TokenFacts(
        token_id=token_id,
        kind=kind,
        source_id=source_id,
        scopes=frozenset(scopes.split()),
        hint=hint,
        expires_at=expires_at,
        revoked_at=revoked_at,
        account_id=account_id,
        account=name,
        is_administrator=bool(is_administrator),
        disabled_at=disabled_at,
    )
