"""Connections to PostgreSQL: bounded in number, bounded in time, and their errors in our words.

A server that is gone or stands still ends every wait here: connecting, waiting for a connection,
for a lock, for a statement. What fails in such a way is trouble that passes; the next use
connects anew by itself.

A connection pooler such as pgbouncer may stand in between. In transaction mode it hands every
transaction to another server connection, so nothing may rely on a session then: bounds are set in
each transaction, statements have no names, and none runs outside of a transaction, because asyncpg
prepares and executes in two steps.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import NullPool, event, exc
from sqlalchemy.ext.asyncio import create_async_engine

from blobd.database.transaction import check_statements
from blobd.errors import BackendUnavailable, StorageFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from typing import Any

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


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a database."""

    url: str = field(repr=False)
    pooled: bool
    """Whether a connection pooler stands in between."""

    @property
    def bounds(self) -> str:
        """What to append to BEGIN so that every wait of the transaction is bounded."""
        if not self.pooled:
            return ""  # the session has them
        return "".join(f"; SET LOCAL {name} = '{value}'" for name, value in _SESSION.items())


async def dial(
    url: str,
    *,
    pooled: bool,
    command_timeout: float | None = None,
    session: Mapping[str, str] | None = None,
) -> asyncpg.Connection:
    """Open a connection; raises what asyncpg raises. It looks for `~/.pgpass`, as psql does.

    `pooled`: its statements have no names. `session`: startup parameters, which a pooler refuses.
    """
    settings = {"application_name": "blobd", **(session or {})}
    return await asyncpg.connect(
        url,
        timeout=CONNECT_WAIT_S,
        command_timeout=command_timeout,
        server_settings=settings,
        **({"statement_cache_size": 0} if pooled else {}),
    )


async def passes_pooler(connection: asyncpg.Connection) -> bool:
    """Return whether a pooler answers for the server.

    A server process gives its own id for cancel requests (PostgreSQL documentation 55.7,
    BackendKeyData); a pooler shares server processes and makes up a key for each client.
    """
    async with connection.transaction():
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        answering: int = await statement.fetchval()
    announced: int = connection.get_server_pid()
    return answering != announced


async def _connect(route: Route) -> asyncpg.Connection:
    """Open a connection whose every wait is bounded. Raises BackendUnavailable."""
    session = None if route.pooled else _SESSION
    with translated():
        connection = await dial(
            route.url, pooled=route.pooled, command_timeout=COMMAND_WAIT_S, session=session
        )
        try:
            appeared = not route.pooled and await passes_pooler(connection)
        except BaseException:
            connection.terminate()
            raise
    if appeared:  # named statements there may be another client's
        connection.terminate()
        raise BackendUnavailable(
            "catalog.url leads to a connection pooler and did not at the start; restart blobd"
        )
    return connection


def open_engine(route: Route, *, size: int) -> AsyncEngine:
    """Return a pool of so many connections at most, each of them outside of any transaction."""

    async def connect() -> asyncpg.Connection:
        connection = await _connect(route)
        if route.pooled:  # SQLAlchemy asks about the server next
            with translated():
                await connection.execute("BEGIN" + route.bounds)
        return connection

    engine = _engine(
        connect,
        pooled=route.pooled,
        isolation_level="AUTOCOMMIT",
        pool_size=size,
        max_overflow=0,
        pool_use_lifo=True,
        pool_reset_on_return=None,
    )
    if route.pooled:
        event.listen(engine.sync_engine, "connect", _commit_first_questions)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    check_statements(engine.sync_engine)
    return engine


def open_migration_engine(route: Route) -> AsyncEngine:
    """Return an engine whose statements may take as long as they like."""
    return _engine(
        lambda: dial(route.url, pooled=route.pooled), pooled=route.pooled, poolclass=NullPool
    )


def _engine(
    connect: Callable[[], Awaitable[asyncpg.Connection]], *, pooled: bool, **options: Any
) -> AsyncEngine:
    arguments: dict[str, Any] = {}
    if pooled:
        arguments = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}

    def create() -> DBAPIConnection:
        driver: Any = engine.dialect.dbapi
        made: DBAPIConnection = driver.connect(async_creator_fn=connect, **arguments)
        return made

    engine = create_async_engine(
        "postgresql+asyncpg://", creator=create, hide_parameters=True, **options
    )
    return engine


def open_pool(route: Route, *, size: int) -> asyncpg.Pool:
    """Return a pool of so many connections at most, for single statements; not connected yet."""

    async def connect_from_pool(*_: object, **__: object) -> asyncpg.Connection:
        return await _connect(route)

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


def reason_of(error: BaseException) -> str:
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
        return BackendUnavailable(f"the catalog cannot be used right now: {reason_of(error)}")
    return None


def _commit_first_questions(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """End the transaction in which SQLAlchemy asked about the server."""
    connection.run_async(lambda driver: driver.execute("COMMIT"))


def _refuse_closed(
    connection: DBAPIConnection, _: ConnectionPoolEntry, __: PoolProxiedConnection
) -> None:
    """Let the pool connect anew where the server has gone away since the last use."""
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """Statements outside of transactions leave nothing behind that had to be reset."""
