"""Statements that SQLite and PostgreSQL spell alike, but SQLAlchemy keeps in two dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from blobd.registry.catalog.tables import repositories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Table

    from blobd.registry.catalog.transaction import Transaction
    from blobd.registry.names import RepositoryName


async def upsert(
    transaction: Transaction,
    table: Table,
    rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    replace: Sequence[str],
) -> None:
    """Insert rows; where a primary key is taken, replace these columns, or nothing if none.

    The row is locked either way when columns are replaced: who deletes it has to wait.
    """
    if not rows:
        return
    dialect = postgresql if transaction.dialect == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key.columns]
    if replace:
        statement = statement.on_conflict_do_update(
            index_elements=keys,
            set_={name: statement.excluded[name] for name in replace},
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    await transaction.execute(statement, rows)


async def find_repository(transaction: Transaction, name: RepositoryName) -> int | None:
    """Return a repository's id, if there is one."""
    query = select(repositories.c.id).where(repositories.c.name == name)
    return (await transaction.execute(query)).scalar_one_or_none()


async def make_repository(transaction: Transaction, name: RepositoryName, *, now: float) -> int:
    """Return a repository's id; the repository is made where there is none."""
    found = await find_repository(transaction, name)
    if found is not None:
        return found
    dialect = postgresql if transaction.dialect == "postgresql" else sqlite
    statement = dialect.insert(repositories).on_conflict_do_nothing(index_elements=["name"])
    await transaction.execute(statement, {"name": name, "created_at": now})
    made = await find_repository(transaction, name)
    if made is None:
        raise AssertionError(f"repository {name} was inserted and is not there")
    return made
