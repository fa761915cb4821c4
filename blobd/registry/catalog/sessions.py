"""Sessions that were signed out of, in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import ended_sessions

if TYPE_CHECKING:
    from blobd.database import Reader, Transaction

_ENDED = "SELECT 1 FROM ended_sessions WHERE serial = ?"


def end_session(transaction: Transaction, serial: str, *, expires_at: float) -> None:
    """Note that a session has ended before its time."""
    row = {"serial": serial, "expires_at": expires_at}
    upsert(transaction, ended_sessions, row, replace=["expires_at"])


def forget_sessions(transaction: Transaction, *, before: float) -> None:
    """Forget sessions that would have ended by themselves."""
    transaction.execute(delete(ended_sessions).where(ended_sessions.c.expires_at < before))


async def has_ended(reader: Reader, serial: str) -> bool:
    """Return whether a session was signed out of. Raises BackendUnavailable."""
    return bool(await reader.rows(_ENDED, serial))
