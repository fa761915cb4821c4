"""The reads of every request, from PostgreSQL: prepared statements on a few connections.

Through a connection pooler a read is a transaction of its own, of four round trips instead of one.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from blobd.database.postgresql.connections import POOL_WAIT_S, translated
from blobd.database.transaction import check_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from blobd.database.line import Line
    from blobd.database.postgresql.connections import Route


class PostgresqlReader:
    """A pool of connections; a `blobd.database.Reader`."""

    def __init__(self, pool: asyncpg.Pool, route: Route, line: Line) -> None:
        """`line` has a turn for each of the pool's connections."""
        self._pool = pool
        self._line = line
        self._begin = f"BEGIN READ ONLY{route.bounds}" if route.pooled else None

    async def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query. Raises BackendUnavailable, TextInvalid."""
        check_texts(values)
        with translated():
            async with self._line.turn(), self._pool.acquire(timeout=POOL_WAIT_S) as connection:
                rows: Sequence[Sequence[Any]] = (
                    await connection.fetch(numbered(statement), *values)
                    if self._begin is None
                    else await _in_transaction(connection, self._begin, statement, values)
                )
                return rows


async def _in_transaction(
    connection: Any, begin: str, statement: str, values: Sequence[str | float]
) -> Sequence[Sequence[Any]]:
    """Return all rows of a query; a connection on which that fails is closed."""
    try:
        await connection.execute(begin)
        rows: Sequence[Sequence[Any]] = await connection.fetch(numbered(statement), *values)
        await connection.execute("COMMIT")
    except BaseException:
        connection.terminate()
        raise
    return rows


@cache
def numbered(statement: str) -> str:
    """Return a statement as PostgreSQL has it: with `$1`, `$2`, … for each `?`."""
    first, *others = statement.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
