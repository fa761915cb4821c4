"""The clock of the database, where it has one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blobd.database.transaction import Transaction

_NOW = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def database_now(transaction: Transaction) -> float | None:
    """Return the server's time in seconds since the epoch; None for SQLite, which has none."""
    if transaction.dialect != "postgresql":
        return None
    return float(transaction.rows(_NOW)[0][0])
