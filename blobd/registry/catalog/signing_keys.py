"""The keys that bearer tokens are signed with, in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, text

from blobd.registry.auth.bearer import SigningKey
from blobd.registry.catalog.rows import upsert
from blobd.registry.catalog.tables import signing_keys

if TYPE_CHECKING:
    from blobd.registry.catalog.transaction import Transaction


_LOCK = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")


def lock_signing_keys(transaction: Transaction) -> None:
    """Let nobody else make or remove keys until the transaction ends; they are read meanwhile."""
    if transaction.dialect == "postgresql":  # there is one writer on SQLite
        transaction.execute(_LOCK)


def list_signing_keys(transaction: Transaction) -> list[SigningKey]:
    """Return all keys, the newest first."""
    query = select(signing_keys.c.kid, signing_keys.c.private, signing_keys.c.created_at)
    rows = transaction.execute(query.order_by(signing_keys.c.created_at.desc(), signing_keys.c.kid))
    return [SigningKey(*row) for row in rows]


def insert_signing_key(transaction: Transaction, key: SigningKey) -> None:
    """Write a new key."""
    row = {"kid": key.kid, "private": key.private, "created_at": key.created_at}
    upsert(transaction, signing_keys, row, replace=[])


def delete_signing_key(transaction: Transaction, kid: str) -> None:
    """Remove a key: what it signed counts no longer."""
    transaction.execute(delete(signing_keys).where(signing_keys.c.kid == kid))
