"""Looking at a database at the start, and bringing its tables up to date.

A lock in the database lets one replica at a time migrate, whatever machine it is on. All steps
are one transaction: a kill leaves the tables of before, and frees the lock.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import exc

from blobd.database.migrate import HEAD, VERSIONS, upgrade
from blobd.database.postgresql.connections import (
    COMMAND_WAIT_S,
    CONNECT_WAIT_S,
    Route,
    dial,
    open_migration_engine,
    passes_pooler,
    reason_of,
)
from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_NAME = "catalog.url: the PostgreSQL database"
_LOCK = "SELECT pg_advisory_xact_lock(7091712013)"
_SETTINGS = """
    SELECT current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync') AS fsync,
           to_regclass('alembic_version') IS NOT NULL AS migrated
"""

_log = logging.getLogger("blobd")


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a database finds."""

    pooled: bool
    """Whether a connection pooler stands in between."""
    current: bool
    """Whether its tables are what this blobd expects."""
    waits_for_disk: bool
    """Whether a commit is durable by the server's own settings."""


async def look(url: str, *, durable: bool) -> Found:
    """Return what is there. Raises ConfigInvalid where the database cannot be used at all."""
    try:
        connection = await dial(url, pooled=True, command_timeout=COMMAND_WAIT_S)
        try:
            pooled = await passes_pooler(connection)
            async with connection.transaction():
                settings = await connection.fetchrow(_SETTINGS)
                versions = await connection.fetch(VERSIONS) if settings["migrated"] else []
        finally:
            await connection.close(timeout=CONNECT_WAIT_S)
    except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        reason = reason_of(error)
        if "statement pooling" in reason:
            reason += "; set pool_mode = transaction or session at the connection pooler"
        raise ConfigInvalid(f"{_NAME} cannot be reached: {reason}") from error
    except (asyncpg.InterfaceError, ValueError) as error:
        # what it says may hold pieces of the URL, and so of a password
        raise ConfigInvalid(
            "catalog.url: cannot be read as postgresql://user:password@host:port/database; "
            "in a password, all but letters and digits must be percent-encoded"
        ) from error
    if settings["encoding"] != "UTF8":
        raise ConfigInvalid(f"{_NAME} has the encoding {settings['encoding']}; it must be UTF8")
    if settings["standby"]:
        raise ConfigInvalid(f"{_NAME} is a read-only standby")
    if durable and settings["fsync"] != "on":
        _log.warning("the catalog's server runs with fsync off: power loss there loses pushes")
    return Found(
        pooled=pooled,
        current=[row[0] for row in versions] == [HEAD],
        waits_for_disk=settings["synchronous_commit"] != "off",
    )


def migrate(route: Route) -> None:
    """Make the tables what this blobd expects.

    Blocks, and waits for others that do the same; not for a thread with an event loop. Raises
    ConfigInvalid when the database cannot be used: no permission, or written by a newer blobd.
    """
    try:
        asyncio.run(_migrate(route))
    except (exc.DBAPIError, OSError, asyncpg.PostgresError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        raise ConfigInvalid(f"{_NAME} cannot be used: {reason_of(cause or error)}") from error


async def _migrate(route: Route) -> None:
    engine = open_migration_engine(route)  # waits for others however long they take
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade)
    await engine.dispose()


def _upgrade(connection: Connection) -> None:
    connection.exec_driver_sql(_LOCK)
    upgrade(connection, name=_NAME)
