"""Accounts and who belongs to them, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from blobd.registry.catalog.rows import insert_if_free
from blobd.registry.catalog.tables import accounts

if TYPE_CHECKING:
    from blobd.registry.catalog.transaction import Transaction

USER, ORGANISATION = "user", "organisation"


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


_COLUMNS = (
    accounts.c.id,
    accounts.c.name,
    accounts.c.kind,
    accounts.c.is_administrator,
    accounts.c.created_at,
    accounts.c.disabled_at,
)


def find_account(transaction: Transaction, name: str) -> Account | None:
    """Return an account."""
    row = transaction.execute(select(*_COLUMNS).where(accounts.c.name == name)).first()
    return None if row is None else Account(*row)


def has_administrator(transaction: Transaction) -> bool:
    """Return whether there is an administrator, be it one who is disabled."""
    query = select(accounts.c.id).where(accounts.c.is_administrator).limit(1)
    return transaction.execute(query).first() is not None


def list_accounts(transaction: Transaction, kind: str, *, after: str, limit: int) -> list[Account]:
    """Return accounts of a kind, by name."""
    query = select(*_COLUMNS).where(accounts.c.kind == kind, accounts.c.name > after)
    rows = transaction.execute(query.order_by(accounts.c.name).limit(limit))
    return [Account(*row) for row in rows]


def insert_account(
    transaction: Transaction, name: str, kind: str, *, is_administrator: bool, now: float
) -> bool:
    """Write an account; return False where the name is taken."""
    row = {
        "name": name,
        "kind": kind,
        "is_administrator": is_administrator,
        "created_at": now,
    }
    return insert_if_free(transaction, accounts, row, unique="name")
