"""Opening the catalog, and its transactions.

A write transaction takes SQLite's write lock at its start (BEGIN IMMEDIATE), so it never fails
half-way for having read first; within a process writers queue in the order they came. On
PostgreSQL the row locks that the statements ask for do the same work.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import event, exc
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from blobd.backends.threads import Threads
from blobd.errors import BackendUnavailable, BlobdError, ConfigInvalid, StorageFull
from blobd.registry.catalog.hot import Hot
from blobd.registry.catalog.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from blobd.config import Config

Transaction = AsyncConnection

_READERS = 4
_BUSY_WAIT_S = 30
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
        If cancelled while it ends: all of it is done, or nothing.
        """
        with _translated():
            async with self._turn, self._writer.begin() as transaction:
                yield transaction

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """One read transaction: a single moment's view, whoever writes meanwhile.

        Raises BackendUnavailable.
        """
        with _translated():
            async with self._reader.connect() as transaction:
                yield transaction


@asynccontextmanager
async def open_catalog(
    path: Path, *, durable: bool, clock: Callable[[], float] = time.time
) -> AsyncIterator[Catalog]:
    """Migrate where needed and open the catalog; any number of processes may have it open.

    `durable`: what was committed survives power loss, and not only a crash of blobd.
    Raises ConfigInvalid.
    """
    threads = Threads(1, "blobd-catalog")
    url = f"sqlite+aiosqlite:///{path}"
    writer = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=_BUSY_WAIT_S)
    reader = create_async_engine(url, pool_size=_READERS, max_overflow=0, pool_timeout=_BUSY_WAIT_S)
    _set_up(writer, durable=durable, begin="BEGIN IMMEDIATE")
    _set_up(reader, durable=durable, begin="BEGIN", read_only=True)
    try:
        await threads.run(migrate, path, durable=durable)
        hot = await threads.run(Hot, path)
        try:
            yield Catalog(writer=writer, reader=reader, hot=hot, clock=clock)
        finally:
            await threads.run(hot.close)
    finally:
        await writer.dispose()
        await reader.dispose()
        threads.close()


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


def _set_up(engine: AsyncEngine, *, durable: bool, begin: str, read_only: bool = False) -> None:
    pragmas = [
        f"busy_timeout = {_BUSY_WAIT_S * 1000}",
        "foreign_keys = ON",
        f"synchronous = {'FULL' if durable else 'OFF'}",
        f"query_only = {'ON' if read_only else 'OFF'}",
    ]

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
