"""Statements that SQLite and PostgreSQL spell alike, but SQLAlchemy keeps in two dialects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy.dialects import postgresql, sqlite

from blobd.database import texts
from blobd.errors import TextInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import ColumnElement, Executable, Table

    from blobd.database.transaction import Parameters, Transaction
    from blobd.digest import Digest

_DIGESTS_PER_QUERY = 500


def upsert(
    transaction: Transaction,
    table: Table,
    rows: Parameters | Sequence[Parameters],
    *,
    replace: Sequence[str],
    where: ColumnElement[bool] | None = None,
    unique: tuple[str, ...] = (),
) -> int:
    """Insert rows; where a primary key is taken, replace these columns, or nothing if none.

    `unique` are the columns of another constraint, looked at instead of the primary key.

    The row is locked either way when columns are replaced: who deletes it has to wait. `where` is
    a condition for replacing, kept in a constant. Returns how many rows were written.

    Raises TextInvalid where a text is longer than its column.
    """
    keys = unique or tuple(column.name for column in table.primary_key.columns)
    statement = _upsert(transaction.dialect, table, keys, tuple(replace), where)
    some = [rows] if isinstance(rows, Mapping) else rows
    for row in some:
        _check_lengths(table, row)
    return sum(transaction.change(statement, row) for row in some)


def portions(digests: Collection[Digest]) -> Iterator[Sequence[Digest]]:
    """Yield the digests in order, as many at a time as fit into one statement."""
    ordered = sorted(digests)
    for start in range(0, len(ordered), _DIGESTS_PER_QUERY):
        yield ordered[start : start + _DIGESTS_PER_QUERY]


def _check_lengths(table: Table, row: Parameters) -> None:
    """Raise TextInvalid where a column is too short for its text; SQLite would take it."""
    for name, most in _limits(table):
        value = row.get(name)
        if isinstance(value, str):
            why = texts.problem(value, most=most)
            if why is not None:
                raise TextInvalid(name.replace("_", " "), why)


@cache
def _limits(table: Table) -> tuple[tuple[str, int], ...]:
    """Return the columns of limited texts, with how many characters each takes."""
    return tuple(
        (column.name, column.type.length)
        for column in table.columns
        if isinstance(column.type, String) and column.type.length is not None
    )


@cache
def _upsert(
    dialect: str,
    table: Table,
    keys: tuple[str, ...],
    replace: tuple[str, ...],
    where: ColumnElement[bool] | None,
) -> Executable:
    """Return the same statement for the same arguments, so that it is compiled once."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    if not replace:
        return statement.on_conflict_do_nothing(index_elements=keys)
    values = {name: statement.excluded[name] for name in replace}
    return statement.on_conflict_do_update(index_elements=keys, set_=values, where=where)
