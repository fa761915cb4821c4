"""Statements that SQLite and PostgreSQL spell alike, but SQLAlchemy keeps in two dialects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import String, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from blobd.registry import texts
from blobd.registry.catalog.tables import repositories
from blobd.registry.errors import TextInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Executable, Table

    from blobd.registry.catalog.transaction import Parameters, Transaction
    from blobd.registry.names import RepositoryName

    Maker = Callable[[Transaction], int]
    """Returns the id of a repository, which is made where there is none."""

_FIND = select(repositories.c.id).where(repositories.c.name == bindparam("name"))


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


def find_repository(transaction: Transaction, name: RepositoryName) -> int | None:
    """Return a repository's id, if there is one."""
    rows = transaction.fetch(_FIND, {"name": name})
    return rows[0][0] if rows else None


def maker(name: RepositoryName, *, now: float) -> Maker:
    """Return what makes a repository that is nobody's."""
    return lambda transaction: make_repository(transaction, name, now=now)


def make_repository(transaction: Transaction, name: RepositoryName, *, now: float) -> int:
    """Return a repository's id; the repository is made where there is none."""
    found = find_repository(transaction, name)
    if found is not None:
        return found
    statement = _upsert(transaction.dialect, repositories, ("name",), (), None)
    transaction.change(statement, {"name": name, "created_at": now})
    made = find_repository(transaction, name)
    if made is None:
        raise AssertionError(f"repository {name} was inserted and is not there")
    return made


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
