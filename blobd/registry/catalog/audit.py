"""The audit, in SQL."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from blobd.database import texts
from blobd.registry.catalog.tables import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the audit."""

    at: float
    actor: str
    """The account's name; empty: nobody known."""
    action: str
    """Such as `push`, `pull`, `delete`, `restore`, `grant`, `token`."""
    package: str | None = None
    digest: Digest | None = None
    detail: str | None = None
    token_id: str | None = None
    address: str | None = None


def write_entries(transaction: Transaction, entries: Sequence[Entry]) -> None:
    """Write entries, in order."""
    if entries:
        transaction.execute(insert(audit), [_row(entry) for entry in entries])


def _row(entry: Entry) -> dict[str, object]:
    """Return an entry's columns; what was done is noted whatever texts it was done with."""
    row = {field.name: getattr(entry, field.name) for field in fields(entry)}
    for column in audit.columns:
        value = row.get(column.name)
        if isinstance(value, str):
            row[column.name] = texts.taken(value, most=getattr(column.type, "length", None))
    return row


def list_entries(
    transaction: Transaction,
    *,
    package: str | None = None,
    actor: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[tuple[int, Entry]]:
    """Return the last entries, or those before a number, with their numbers; the newest first."""
    query = select(
        audit.c.id,
        audit.c.at,
        audit.c.actor,
        audit.c.action,
        audit.c.package,
        audit.c.digest,
        audit.c.detail,
        audit.c.token_id,
        audit.c.address,
    )
    if package is not None:
        query = query.where(audit.c.package == package)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    if before is not None:
        query = query.where(audit.c.id < before)
    rows = transaction.execute(query.order_by(audit.c.id.desc()).limit(limit))
    return [(number, Entry(*row)) for number, *row in rows]


def forget_entries(transaction: Transaction, *, before: float) -> int:
    """Remove entries that are older; return how many."""
    return transaction.execute(delete(audit).where(audit.c.at < before)).rowcount
