"""What is known of the bytes of blobs, in SQL: which are damaged, and when they were verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, func, or_, select, update

from blobd.database.statements import portions, upsert
from blobd.references.tables import blobs, leases, pins

if TYPE_CHECKING:
    from collections.abc import Collection

    from blobd.database import Reader, Transaction
    from blobd.digest import Digest

_KNOWN = "SELECT size_bytes, verified_at, damaged_at FROM blobs WHERE digest = ?"


@dataclass(frozen=True, slots=True)
class KnownBlob:
    """What is known of a digest, of whatever holder."""

    size_bytes: int | None
    """None while it is pushed for the first time."""
    verified_at: float
    """When its bytes were last found to hash to the digest; 0: not known."""
    damaged_at: float | None
    """Since when its bytes are quarantined."""


@dataclass(frozen=True, slots=True)
class Row:
    """One digest in the catalog."""

    size_bytes: int
    verified_at: float
    """Seconds since the epoch; it changes with every commit of the digest. 0: never."""
    damaged_at: float | None
    condemned_at: float | None
    """Since when garbage collection removes the bytes, or died doing so."""
    pinned: bool
    """Whether the digest is being published, or its push broke off."""


async def read_blob(reader: Reader, digest: Digest) -> KnownBlob | None:
    """Return what is known of a digest; None where nobody holds it, nor did until lately."""
    rows = await reader.rows(_KNOWN, str(digest))
    return KnownBlob(*rows[0]) if rows else None


def take(transaction: Transaction, digest: Digest) -> Row | None:
    """Take a digest's row for the rest of the transaction: nobody pins or publishes it meanwhile.

    None where no bytes have been published under it.
    """
    query = select(
        blobs.c.size_bytes, blobs.c.verified_at, blobs.c.damaged_at, blobs.c.condemned_at
    )
    row = transaction.execute(query.where(blobs.c.digest == digest).with_for_update()).first()
    if row is None or row.size_bytes is None:
        return None
    pinned = select(pins.c.digest).where(pins.c.digest == digest).limit(1)
    return Row(
        row.size_bytes,
        row.verified_at,
        row.damaged_at,
        row.condemned_at,
        pinned=transaction.execute(pinned).first() is not None,
    )


def set_damaged(transaction: Transaction, digest: Digest, *, now: float) -> None:
    """Quarantine a digest: HEAD, GET, mounts and manifests do not find it until it is pushed."""
    statement = update(blobs).where(blobs.c.digest == digest, blobs.c.damaged_at.is_(None))
    transaction.execute(statement.values(damaged_at=now))


def sizes(transaction: Transaction, digests: Collection[Digest]) -> dict[Digest, int]:
    """Return the sizes in bytes of those blobs that are not quarantined."""
    query = select(blobs.c.digest, blobs.c.size_bytes).where(
        blobs.c.size_bytes.is_not(None), blobs.c.damaged_at.is_(None)
    )
    found: dict[Digest, int] = {}
    for some in portions(digests):
        rows = transaction.execute(query.where(blobs.c.digest.in_(some)))
        found.update((digest, size_bytes) for digest, size_bytes in rows)
    return found


def damaged(transaction: Transaction) -> int:
    """Return how many blobs are quarantined."""
    query = select(func.count()).select_from(blobs).where(blobs.c.damaged_at.is_not(None))
    return transaction.execute(query).scalar_one()


@dataclass(frozen=True, slots=True)
class Due:
    """A blob that is to be verified again."""

    digest: Digest
    size_bytes: int
    verified_at: float


_PUBLISHED = and_(blobs.c.size_bytes.is_not(None), blobs.c.damaged_at.is_(None))


_FREE = or_(leases.c.holder == bindparam("by"), leases.c.expires_at < bindparam("now"))


def due(transaction: Transaction, *, before: float, after: Due | None, limit: int) -> list[Due]:
    """Return blobs that were last verified before a moment, the longest ago first."""
    query = select(blobs.c.digest, blobs.c.size_bytes, blobs.c.verified_at).where(
        _PUBLISHED, blobs.c.verified_at < before
    )
    if after is not None:
        query = query.where(
            or_(
                blobs.c.verified_at > after.verified_at,
                and_(blobs.c.verified_at == after.verified_at, blobs.c.digest > after.digest),
            )
        )
    rows = transaction.execute(query.order_by(blobs.c.verified_at, blobs.c.digest).limit(limit))
    return [Due(digest, size_bytes or 0, verified_at) for digest, size_bytes, verified_at in rows]


def set_verified(transaction: Transaction, *, due: Due, now: float) -> None:
    """Note that a blob was verified, unless it was committed again since it was due."""
    statement = update(blobs).where(
        blobs.c.digest == due.digest, blobs.c.verified_at == due.verified_at
    )
    transaction.execute(statement.values(verified_at=now))


def oldest_verified(transaction: Transaction) -> float | None:
    """Return when the blob was verified that was so the longest ago; None without blobs."""
    query = select(func.min(blobs.c.verified_at)).where(_PUBLISHED)
    return transaction.execute(query).scalar_one_or_none()


def take_lease(
    transaction: Transaction, *, name: str, holder: str, now: float, expires_at: float
) -> bool:
    """Take or prolong a lease; return False while another process has it."""
    row = {"name": name, "holder": holder, "expires_at": expires_at, "by": holder, "now": now}
    return upsert(transaction, leases, row, replace=["holder", "expires_at"], where=_FREE) > 0


def end_lease(transaction: Transaction, *, name: str, holder: str) -> None:
    """Let go of a lease, if it is held."""
    transaction.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
