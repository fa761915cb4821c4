"""The reads of every request, from PostgreSQL: prepared statements on a few connections."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from blobd.registry.catalog.postgresql.connections import POOL_WAIT_S, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg


class PostgresqlReader:
    """A pool of connections; a `blobd.registry.catalog.hot.Reader`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query. Raises BackendUnavailable."""
        with translated():
            async with self._pool.acquire(timeout=POOL_WAIT_S) as connection:
                rows: Sequence[Sequence[Any]] = await connection.fetch(
                    _numbered(statement), *values
                )
                return rows


@cache
def _numbered(statement: str) -> str:
    """Return a statement with `$1`, `$2`, … for each `?`."""
    first, *others = statement.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
