"""Source repositories, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from blobd.database.statements import upsert
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog.access import given_to, owned_by
from blobd.registry.catalog.tables import accounts, source_roles, sources
from blobd.registry.names import fold_account

if TYPE_CHECKING:
    from collections.abc import Collection

    from blobd.database.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Source:
    """A source repository."""

    source_id: int
    owner: str
    name: str
    visibility: str
    created_at: float
    owner_id: int
    owner_kind: str
    host: str = ""
    """The host that labels name it by; empty: one of the registry's own."""
    writers_link: bool = False
    """Whether a label of a writer links packages to it, and not only one of an admin."""

    @property
    def full_name(self) -> str:
        """`OWNER/NAME`."""
        return f"{self.owner}/{self.name}"


_SOURCES = select(
    sources.c.id,
    accounts.c.name,
    sources.c.name,
    sources.c.visibility,
    sources.c.created_at,
    accounts.c.id,
    accounts.c.kind,
    sources.c.host,
    sources.c.writers_link,
).join(accounts, accounts.c.id == sources.c.owner_id)


def find_source(transaction: Transaction, owner: str, name: str) -> Source | None:
    """Return a source repository."""
    row = transaction.execute(
        _SOURCES.where(accounts.c.name == fold_account(owner), sources.c.name == fold_account(name))
    ).first()
    return None if row is None else Source(*row)


def get_source(transaction: Transaction, source_id: int) -> Source | None:
    """Return a source repository by its id."""
    row = transaction.execute(_SOURCES.where(sources.c.id == source_id)).first()
    return None if row is None else Source(*row)


def get_sources(transaction: Transaction, ids: Collection[int]) -> dict[int, Source]:
    """Return source repositories by their ids."""
    rows = transaction.execute(_SOURCES.where(sources.c.id.in_(ids)))
    found = [Source(*row) for row in rows]
    return {source.source_id: source for source in found}


def list_sources(transaction: Transaction, owner: str | None) -> list[Source]:
    """Return the source repositories of an account, or all; by name."""
    query = _SOURCES if owner is None else _SOURCES.where(accounts.c.name == fold_account(owner))
    rows = transaction.execute(query.order_by(accounts.c.name, sources.c.name))
    return [Source(*row) for row in rows]


def count_sources(transaction: Transaction, owner_id: int) -> tuple[int, int]:
    """Return how many source repositories an account has that are public, and that are not."""
    query = (
        select(sources.c.visibility, func.count())
        .where(sources.c.owner_id == owner_id)
        .group_by(sources.c.visibility)
    )
    counts: dict[str, int] = dict(transaction.execute(query).tuples().all())
    public = counts.pop(str(Visibility.PUBLIC), 0)
    return public, sum(counts.values())


def insert_source(
    transaction: Transaction, owner_id: int, name: str, visibility: str, *, host: str, now: float
) -> bool:
    """Write a source repository; return False where the owner has one of that name."""
    row = {
        "owner_id": owner_id,
        "name": fold_account(name),
        "visibility": visibility,
        "created_at": now,
        "host": host,
        "writers_link": False,
    }
    return upsert(transaction, sources, row, replace=[], unique=("owner_id", "name")) > 0


def change_source(transaction: Transaction, source_id: int, **values: object) -> None:
    """Set columns of a source repository."""
    transaction.execute(update(sources).where(sources.c.id == source_id).values(**values))


def delete_source(transaction: Transaction, source_id: int) -> None:
    """Remove a source repository, its tokens and grants; its packages are unlinked."""
    transaction.execute(delete(sources).where(sources.c.id == source_id))


def role_of_person(transaction: Transaction, source_id: int, account_id: int) -> Role:
    """Return what a user may do in a source repository: owner, by itself, or by its teams."""
    owns = select(sources.c.id).where(sources.c.id == source_id, owned_by(account_id))
    if transaction.execute(owns).first() is not None:
        return Role.ADMIN
    given = select(source_roles.c.role).where(
        source_roles.c.source_id == source_id, given_to(source_roles, account_id)
    )
    return max(map(Role.parse, transaction.execute(given).scalars()), default=Role.NONE)
