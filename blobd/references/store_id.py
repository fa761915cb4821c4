"""The id of the store that a catalog belongs to, in SQL, and what it says of the store's blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from blobd.database.statements import upsert
from blobd.digest import Digest
from blobd.references.tables import blobs, store

if TYPE_CHECKING:
    from blobd.database.transaction import Transaction

_ONLY = 1


def read_store_id(transaction: Transaction) -> str | None:
    """Return the id of the catalog's store; None where it does not know one yet."""
    found: str | None = transaction.execute(select(store.c.store_id)).scalar()
    return found


def keep_store_id(transaction: Transaction, store_id: str) -> str:
    """Write the id unless the catalog knows one; return the one that it knows then."""
    upsert(transaction, store, {"id": _ONLY, "store_id": store_id}, replace=[])
    known = read_store_id(transaction)
    if known is None:
        raise AssertionError("the store's id was written and is not there")
    return known


def replace_store_id(transaction: Transaction, store_id: str) -> None:
    """Write the id over any that is there."""
    transaction.execute(delete(store))
    keep_store_id(transaction, store_id)


def names_blobs(transaction: Transaction) -> bool:
    """Return whether the catalog names any blob, or has named one until lately."""
    return transaction.execute(select(blobs.c.digest).limit(1)).first() is not None


def sample_blobs(transaction: Transaction, limit: int) -> list[Digest]:
    """Return some of the digests whose bytes should be in the store."""
    query = select(blobs.c.digest).where(
        blobs.c.size_bytes.is_not(None), blobs.c.condemned_at.is_(None)
    )
    return [Digest.parse(str(digest)) for (digest,) in transaction.execute(query.limit(limit))]
