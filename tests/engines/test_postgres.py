"""PostgreSQL as the tests run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.backends.acts import off_loop

if TYPE_CHECKING:
    from tests.engines.postgres import Postgres

pytestmark = pytest.mark.needs("postgres")


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url)


async def test_what_is_committed_outlives_kill_9(postgres: Postgres, database: str) -> None:
    """A kill and a restart lose no transaction, or promise 3 could not be tested on it."""
    connection = await _connect(database)
    assert await connection.fetchval("SHOW fsync") == "on"
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    await off_loop(postgres.kill)
    await off_loop(postgres.start)
    connection.terminate()
    connection = await _connect(database)
    assert await connection.fetchval("SELECT one FROM kept") == 1
    await connection.close()
