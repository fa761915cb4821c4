"""The leases of living daemons, in SQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from blobd.database.statements import upsert
from blobd.references.tables import daemons

if TYPE_CHECKING:
    from blobd.database.transaction import Transaction

_FORGOTTEN_AFTER_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A daemon that was alive at `seen_at`."""

    id: str
    host: str
    boot: str
    """The start of its machine, as in `durable.py`."""
    pid: int
    seen_at: float
    settings: str
    """As JSON, by `section.name`."""


def renew(transaction: Transaction, lease: Lease) -> None:
    """Write a daemon's lease, and forget those that lapsed long ago."""
    upsert(transaction, daemons, asdict(lease), replace=["seen_at", "settings"])
    old = daemons.c.seen_at < lease.seen_at - _FORGOTTEN_AFTER_S
    transaction.execute(delete(daemons).where(old))


def end(transaction: Transaction, daemon_id: str) -> None:
    """Remove a daemon's lease."""
    transaction.execute(delete(daemons).where(daemons.c.id == daemon_id))


def leases(transaction: Transaction) -> list[Lease]:
    """Return all leases, lapsed ones included."""
    query = select(
        daemons.c.id,
        daemons.c.host,
        daemons.c.boot,
        daemons.c.pid,
        daemons.c.seen_at,
        daemons.c.settings,
    )
    return [Lease(*row) for row in transaction.execute(query.order_by(daemons.c.id))]
