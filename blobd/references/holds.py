"""A digest's row and its pins, in SQL.

Whatever makes or ends a reference writes the digest's row in `blobs` before anything else of that
digest, which is what garbage collection locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, null, or_, select, update

from blobd.database.statements import upsert
from blobd.references.tables import blobs, pins

if TYPE_CHECKING:
    from blobd.database import Transaction
    from blobd.digest import Digest

DELETING_S = 120.0
"""How long a digest counts as being deleted: longer than the deletion of its bytes can take."""

_BLOB = blobs.c.digest == bindparam("blob")
_LOCK = select(blobs.c.digest).where(_BLOB).with_for_update()
_NOT_DELETING = or_(
    blobs.c.condemned_at.is_(None), blobs.c.condemned_at < bindparam("deleting_before")
)
_DELETING = update(blobs).where(_BLOB, _NOT_DELETING).values(condemned_at=bindparam("condemned_at"))
_INSERT_PIN = insert(pins)
_DROP_PIN = delete(pins).where(pins.c.nonce == bindparam("pin"))
_PUBLISH = (
    update(blobs)
    .where(_BLOB)
    .values(
        size_bytes=bindparam("size_bytes"),
        verified_at=bindparam("verified_at"),
        damaged_at=null(),
    )
)
_SET_HOLD_ENDED = update(blobs).where(_BLOB).values(hold_ended_at=bindparam("hold_ended_at"))


def lock(transaction: Transaction, digest: Digest) -> bool:
    """Take a digest's row for the rest of the transaction; return whether it is there."""
    return bool(transaction.fetch(_LOCK, {"blob": digest}))


def insert_pin(transaction: Transaction, digest: Digest, nonce: str, *, now: float) -> bool:
    """Pin a digest, making its row where there is none.

    Returns False while its bytes are being deleted.
    """
    row = {"digest": digest, "condemned_at": None, "deleting_before": now - DELETING_S}
    if not upsert(transaction, blobs, row, replace=["condemned_at"], where=_NOT_DELETING):
        return False
    transaction.change(_INSERT_PIN, {"nonce": nonce, "digest": digest, "created_at": now})
    return True


def drop_pin(transaction: Transaction, nonce: str) -> bool:
    """Remove a pin; return whether it was still there."""
    return transaction.change(_DROP_PIN, {"pin": nonce}) > 0


def publish(transaction: Transaction, digest: Digest, size_bytes: int, *, now: float) -> None:
    """Note that verified bytes of a blob have been published; that ends a quarantine."""
    values = {"blob": digest, "size_bytes": size_bytes, "verified_at": now}
    transaction.change(_PUBLISH, values)


def set_hold_ended(transaction: Transaction, digest: Digest, ended_at: float | None) -> None:
    """Mark a digest as a candidate for garbage collection; None clears the mark."""
    transaction.change(_SET_HOLD_ENDED, {"blob": digest, "hold_ended_at": ended_at})


def mark_deleting(transaction: Transaction, digest: Digest, *, now: float) -> bool:
    """Keep pins off a digest from now on; return False where a collector has done so before."""
    values = {"blob": digest, "condemned_at": now, "deleting_before": now - DELETING_S}
    return transaction.change(_DELETING, values) > 0


def may_be_deleting(marked_at: float | None, *, now: float) -> bool:
    """Return whether a collector may be deleting the bytes of what was marked then."""
    return marked_at is not None and now - marked_at < DELETING_S


def is_deleting(transaction: Transaction, digest: Digest, *, at: float) -> bool:
    """Return whether a digest was marked at that moment, and by nobody since."""
    query = select(blobs.c.digest).where(blobs.c.digest == digest, blobs.c.condemned_at == at)
    return transaction.execute(query).first() is not None


def delete_row(transaction: Transaction, digest: Digest) -> None:
    """Remove the row of a digest that nobody holds."""
    transaction.execute(delete(blobs).where(blobs.c.digest == digest))
