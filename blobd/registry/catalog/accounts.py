"""Accounts and memberships, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import accounts, memberships
from blobd.registry.names import fold_account

if TYPE_CHECKING:
    from blobd.database.transaction import Transaction

USER, ORGANISATION = "user", "organisation"
OWNER, MEMBER = "owner", "member"


@dataclass(frozen=True, slots=True)
class Account:
    """A user or an organisation; its name is a namespace."""

    account_id: int
    name: str
    kind: str
    """USER or ORGANISATION."""
    is_administrator: bool
    created_at: float
    disabled_at: float | None
    packages_inherit: bool = True
    """Whether new packages inherit access from the source repository that they are linked to."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an organisation, with the role in it."""

    name: str
    role: str
    """OWNER or MEMBER."""
    account_id: int


_COLUMNS = (
    accounts.c.id,
    accounts.c.name,
    accounts.c.kind,
    accounts.c.is_administrator,
    accounts.c.created_at,
    accounts.c.disabled_at,
    accounts.c.packages_inherit,
)


def find_account(transaction: Transaction, name: str) -> Account | None:
    """Return an account."""
    named = accounts.c.name == fold_account(name)
    row = transaction.execute(select(*_COLUMNS).where(named)).first()
    return None if row is None else Account(*row)


def has_administrator(transaction: Transaction) -> bool:
    """Return whether there is an administrator, even a disabled one."""
    query = select(accounts.c.id).where(accounts.c.is_administrator).limit(1)
    return transaction.execute(query).first() is not None


def count_administrators(transaction: Transaction) -> int:
    """Return how many administrators may log in; their rows are locked."""
    active = accounts.c.is_administrator, accounts.c.disabled_at.is_(None)
    rows = transaction.execute(select(accounts.c.id).where(*active).with_for_update())
    return len(rows.all())


def list_accounts(transaction: Transaction, kind: str) -> list[Account]:
    """Return all accounts of a kind, by name."""
    query = select(*_COLUMNS).where(accounts.c.kind == kind).order_by(accounts.c.name)
    return [Account(*row) for row in transaction.execute(query)]


def insert_account(
    transaction: Transaction, name: str, kind: str, *, is_administrator: bool, now: float
) -> bool:
    """Write an account; return False where the name is taken."""
    row = {
        "name": fold_account(name),
        "kind": kind,
        "is_administrator": is_administrator,
        "created_at": now,
    }
    return upsert(transaction, accounts, row, replace=[], unique=("name",)) > 0


def set_disabled(transaction: Transaction, account_id: int, at: float | None) -> None:
    """Shut an account out from a time, or let it in again."""
    change = update(accounts).where(accounts.c.id == account_id).values(disabled_at=at)
    transaction.execute(change)


def packages_inherit(transaction: Transaction, account_id: int) -> bool:
    """Return whether new packages of an account inherit access from their source repository."""
    query = select(accounts.c.packages_inherit).where(accounts.c.id == account_id)
    return bool(transaction.execute(query).scalar_one())


def set_packages_inherit(transaction: Transaction, account_id: int, *, inherit: bool) -> None:
    """Say whether they do, from the next package on."""
    change = update(accounts).where(accounts.c.id == account_id).values(packages_inherit=inherit)
    transaction.execute(change)


def set_member(transaction: Transaction, organisation_id: int, account_id: int, role: str) -> None:
    """Let a user belong to an organisation, in the place of what it was there."""
    row = {"organisation_id": organisation_id, "account_id": account_id, "role": role}
    upsert(transaction, memberships, row, replace=["role"])


def delete_member(transaction: Transaction, organisation_id: int, account_id: int) -> bool:
    """Let a user belong no longer; return whether it did."""
    gone = delete(memberships).where(
        memberships.c.organisation_id == organisation_id, memberships.c.account_id == account_id
    )
    return transaction.execute(gone).rowcount > 0


def list_members(transaction: Transaction, organisation_id: int) -> list[Member]:
    """Return the members of an organisation, by name."""
    query = (
        select(accounts.c.name, memberships.c.role, accounts.c.id)
        .join(accounts, accounts.c.id == memberships.c.account_id)
        .where(memberships.c.organisation_id == organisation_id)
        .order_by(accounts.c.name)
    )
    return [Member(*row) for row in transaction.execute(query)]


def count_owners(transaction: Transaction, organisation_id: int) -> int:
    """Return how many own an organisation; its row is locked, so that they stay as many."""
    lock = select(accounts.c.id).where(accounts.c.id == organisation_id).with_for_update()
    transaction.execute(lock)
    query = select(func.count()).where(
        memberships.c.organisation_id == organisation_id, memberships.c.role == OWNER
    )
    return transaction.execute(query).scalar_one()


def stays_member(transaction: Transaction, organisation_id: int, account_id: int) -> bool:
    """Return whether a user belongs to an organisation, and let it until the transaction ends."""
    query = select(memberships.c.role).where(
        memberships.c.organisation_id == organisation_id, memberships.c.account_id == account_id
    )
    return transaction.execute(query.with_for_update()).first() is not None


def membership(transaction: Transaction, organisation_id: int, account_id: int) -> str | None:
    """Return what a user is in an organisation."""
    query = select(memberships.c.role).where(
        memberships.c.organisation_id == organisation_id, memberships.c.account_id == account_id
    )
    return transaction.execute(query).scalar_one_or_none()
