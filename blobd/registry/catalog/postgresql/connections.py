"""Connections to PostgreSQL: bounded in number, bounded in time, and their errors in our words.

A server that is gone or stands still ends every wait here: connecting, waiting for a connection,
for a lock, for a statement. What fails in such a way is trouble that passes; the next use
connects anew by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import create_async_engine

from blobd.errors import BackendUnavailable, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

CONNECT_WAIT_S = 5.0
POOL_WAIT_S = 10.0
COMMAND_WAIT_S = 20.0
"""For any statement; the server gives up before, as long as it answers at all."""
_CLOSE_WAIT_S = 5.0
_IDLE_LIFETIME_S = 300.0

_SESSION = {
    "statement_timeout": "15s",
    "lock_timeout": "10s",
    # locks of a machine that has vanished are not kept for long
    "idle_in_transaction_session_timeout": "30s",
}
_CLIENT_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_FULL = "53100"
_CONFLICTS = {"40001", "40P01"}
"""serialization_failure, deadlock_detected"""
_PASSING = ("08", "25006", "25P03", "28", "3D", "53", "55P03", "57", "58")
"""By class or code of appendix A: the connection, a standby, an idle transaction, the password or
the database (both were right at the start), resources, a lock, a cancel or shutdown, I/O."""


class Conflict(Exception):
    """Another transaction got in the way, and this one was undone: it can be run again."""


async def _connect(url: str) -> asyncpg.Connection:
    """Open a connection whose every wait is bounded. Raises BackendUnavailable."""
    with translated():
        return await dial(url, command_timeout=COMMAND_WAIT_S, session=_SESSION)


async def dial(
    url: str, *, command_timeout: float | None = None, session: Mapping[str, str] | None = None
) -> asyncpg.Connection:
    """Open a connection; raises what asyncpg raises. It looks for `~/.pgpass`, as psql does."""
    settings = {"application_name": "blobd", **(session or {})}
    return await asyncpg.connect(
        url, timeout=CONNECT_WAIT_S, command_timeout=command_timeout, server_settings=settings
    )


def open_engine(url: str, *, size: int) -> AsyncEngine:
    """Return a pool of so many connections at most, each of them outside of any transaction."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: _connect(url),
        isolation_level="AUTOCOMMIT",
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        pool_use_lifo=True,
        pool_reset_on_return=None,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def open_pool(url: str, *, size: int) -> asyncpg.Pool:
    """Return a pool of so many connections at most, for single statements; not connected yet."""

    async def connect_from_pool(*_: object, **__: object) -> asyncpg.Connection:
        return await _connect(url)

    return asyncpg.create_pool(
        connect=connect_from_pool,
        reset=_leave_as_it_is,
        min_size=0,
        max_size=size,
        max_inactive_connection_lifetime=_IDLE_LIFETIME_S,
    )


async def close_engine(engine: AsyncEngine) -> None:
    """Close its connections; a server that does not answer is not waited for."""
    try:
        async with asyncio.timeout(_CLOSE_WAIT_S):
            await engine.dispose()
    except TimeoutError:
        await engine.dispose(close=False)


async def close_pool(pool: asyncpg.Pool) -> None:
    """Close its connections; a server that does not answer is not waited for."""
    try:
        async with asyncio.timeout(_CLOSE_WAIT_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


@contextmanager
def translated() -> Iterator[None]:
    """Raise what PostgreSQL or the way to it raises as BackendUnavailable, StorageFull, Conflict.

    What is none of them, such as a violated constraint, passes as it is.
    """
    try:
        yield
    except exc.DBAPIError as error:
        known = _known(error.orig)
        if known is None:
            raise
        raise known from error
    except (OSError, *_CLIENT_ERRORS) as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error


def told(error: BaseException) -> str:
    """Return what an error says, in one line that holds no password."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return " ".join((getattr(error, "strerror", None) or str(error)).split())


def _known(error: BaseException | None) -> Exception | None:
    code = getattr(error, "sqlstate", None)
    if code == _FULL:
        return StorageFull("no space left on the catalog's server")
    if code in _CONFLICTS:
        return Conflict()
    # without a code: no answer in time, a lost connection, or a host that is no primary
    if error is not None and (code is None or code.startswith(_PASSING)):
        return BackendUnavailable(f"the catalog cannot be used right now: {told(error)}")
    return None


def _refuse_closed(
    connection: DBAPIConnection, _: ConnectionPoolEntry, __: PoolProxiedConnection
) -> None:
    """Let the pool connect anew where the server has gone away since the last use."""
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """Statements outside of transactions leave nothing behind that had to be reset."""
