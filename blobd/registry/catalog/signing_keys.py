"""The keys that bearer tokens are signed with, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, text, update

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import signing_keys

if TYPE_CHECKING:
    from blobd.database.transaction import Transaction


_LOCK = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key as the catalog has it."""

    kid: str
    stored: bytes
    """The private key: 32 bytes, or more where it is sealed."""
    created_at: float


def lock_signing_keys(transaction: Transaction) -> None:
    """Let nobody else make or remove keys until the transaction ends; they are read meanwhile."""
    if transaction.dialect == "postgresql":  # there is one writer on SQLite
        transaction.execute(_LOCK)


def list_signing_keys(transaction: Transaction) -> list[StoredKey]:
    """Return all keys, the newest first."""
    query = select(signing_keys.c.kid, signing_keys.c.private, signing_keys.c.created_at)
    rows = transaction.execute(query.order_by(signing_keys.c.created_at.desc(), signing_keys.c.kid))
    return [StoredKey(kid, bytes(stored), created_at) for kid, stored, created_at in rows]


def insert_signing_key(transaction: Transaction, key: StoredKey) -> None:
    """Write a new key."""
    row = {"kid": key.kid, "private": key.stored, "created_at": key.created_at}
    upsert(transaction, signing_keys, row, replace=[])


def replace_stored(transaction: Transaction, kid: str, stored: bytes) -> None:
    """Store a key in another form."""
    transaction.execute(
        update(signing_keys).where(signing_keys.c.kid == kid).values(private=stored)
    )


def delete_signing_key(transaction: Transaction, kid: str) -> None:
    """Remove a key: what it signed counts no longer."""
    transaction.execute(delete(signing_keys).where(signing_keys.c.kid == kid))
