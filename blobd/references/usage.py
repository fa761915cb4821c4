"""How much is held, counted by holder and counted once, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, union_all

from blobd.references.tables import blobs

if TYPE_CHECKING:
    from blobd.database import Transaction
    from blobd.references.references import References


@dataclass(frozen=True, slots=True)
class Usage:
    """What all holders hold."""

    holds: int
    logical_bytes: int
    """Each holder counted for itself, as if nothing were shared."""
    held_bytes: int
    """Each blob counted once."""

    @property
    def saved_bytes(self) -> int:
        """What it saves to store equal bytes once."""
        return self.logical_bytes - self.held_bytes


def read_usage(transaction: Transaction, references: References) -> Usage:
    """Return how much is held at this moment."""
    held = union_all(*(select(kind.digest.label("digest")) for kind in references.kinds)).subquery()
    by_digest = (
        select(blobs.c.size_bytes, func.count().label("holds"))
        .join(held, held.c.digest == blobs.c.digest)
        .where(blobs.c.size_bytes.is_not(None))
        .group_by(blobs.c.digest, blobs.c.size_bytes)
        .subquery()
    )
    query = select(
        func.coalesce(func.sum(by_digest.c.holds), 0),
        func.coalesce(func.sum(by_digest.c.holds * by_digest.c.size_bytes), 0),
        func.coalesce(func.sum(by_digest.c.size_bytes), 0),
    )
    row = transaction.execute(query).one()
    return Usage(int(row[0]), int(row[1]), int(row[2]))
