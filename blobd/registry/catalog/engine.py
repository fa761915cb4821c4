"""Opening the catalog, and its transactions.

A write transaction takes SQLite's write lock with its first statement (BEGIN IMMEDIATE), so it
never fails half-way for having read before; within a process writers queue in the order they
came. On PostgreSQL the row locks that the statements ask for do the same work.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import event, exc
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from blobd.backends.threads import Threads
from blobd.errors import BackendUnavailable, BlobdError, ConfigInvalid, StorageFull
from blobd.registry.catalog.hot import Hot
from blobd.registry.catalog.migrate import migrate
from blobd.registry.catalog.transaction import Transaction, transaction, unbroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from blobd.config import Config

_READERS = 4
_BUSY_WAIT_S = 30.0
_BUSY, _LOCKED, _READONLY, _IO, _FULL, _CANNOT_OPEN = 5, 6, 8, 10, 13, 14


class Catalog:
    """The registry's tables: `writing` and `reading` transactions, and `hot` for every request."""

    def __init__(
        self,
        *,
        writer: AsyncEngine,
        reader: AsyncEngine,
        hot: Hot,
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._turn = asyncio.Lock()
        self.hot = hot
        self.now = clock
        """Seconds since the epoch."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """One write transaction: durable when the block has ended, undone when it raised.

        Raises BackendUnavailable when other writers hold the catalog for too long, StorageFull.
        If cancelled: all of it is done, or nothing.
        """
        with _translated():
            async with self._turn, transaction(self._writer) as begun:
                yield begun

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """One read transaction: a single moment's view, whoever writes meanwhile.

        Raises BackendUnavailable.
        """
        with _translated():
            async with transaction(self._reader) as begun:
                yield begun


@asynccontextmanager
async def open_catalog(
    path: Path, *, durable: bool, clock: Callable[[], float] = time.time
) -> AsyncIterator[Catalog]:
    """Migrate where needed and open the catalog; any number of processes may have it open.

    `durable`: what was committed survives power loss, and not only a crash of blobd.
    Raises ConfigInvalid.
    """
    threads = Threads(1, "blobd-catalog")
    async with AsyncExitStack() as stack:
        stack.callback(threads.close)
        await threads.run(migrate, path, durable=durable)
        writer = await threads.run(_open, path, durable=durable, begin="BEGIN IMMEDIATE", size=1)
        stack.push_async_callback(_dispose, writer)
        reader = await threads.run(_open, path, durable=durable, begin="BEGIN", size=_READERS)
        stack.push_async_callback(_dispose, reader)
        hot = await threads.run(Hot, path)
        stack.push_async_callback(threads.run, hot.close)
        yield Catalog(writer=writer, reader=reader, hot=hot, clock=clock)


def catalog_path(config: Config) -> Path:
    """Return the file of the configured catalog. Raises ConfigInvalid."""
    if not config.catalog.url:
        return Path(config.store.path) / "catalog.sqlite"
    try:
        url = make_url(config.catalog.url)
    except exc.ArgumentError as error:
        raise ConfigInvalid("catalog.url: must be a URL such as sqlite:////folder/file") from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigInvalid("catalog.url: must name an SQLite file, as sqlite:////folder/file does")
    return Path(url.database)


def _open(path: Path, *, durable: bool, begin: str, size: int) -> AsyncEngine:
    """Return an engine whose transactions start with `begin`. Blocks a little."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", pool_size=size, max_overflow=0, pool_timeout=_BUSY_WAIT_S
    )
    pragmas = (
        f"busy_timeout = {int(_BUSY_WAIT_S * 1000)}",
        "foreign_keys = ON",
        f"synchronous = {'FULL' if durable else 'OFF'}",
    )

    def prepare(dbapi_connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # sqlite3 would otherwise begin transactions by itself, and later than wanted
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin_transaction)
    return engine


async def _dispose(engine: AsyncEngine) -> None:
    await unbroken(engine.dispose())


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise BackendUnavailable("the catalog's connections are all in use") from error
    except exc.DBAPIError as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error


def _known(error: exc.DBAPIError) -> BlobdError | None:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code == _FULL:
        return StorageFull()
    if code in {_BUSY, _LOCKED, _READONLY, _IO, _CANNOT_OPEN}:
        return BackendUnavailable(f"the catalog cannot be used right now: {error.orig}")
    return None
