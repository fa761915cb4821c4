"""The catalog in an SQLite file: opening it, and its transactions.

What is to be read or written is a plain function of a `Transaction`, run on a thread.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import create_engine, event, exc

from blobd.database.line import Line
from blobd.database.sqlite.migrate import lock_path, migrate
from blobd.database.sqlite.reader import TEMPORARY_IN_MEMORY, SqliteReader
from blobd.database.sqlite.transaction import SqliteTransaction
from blobd.database.sqlite.writer import BATCH_MAX, Work, Writer
from blobd.database.transaction import check_statements
from blobd.errors import BackendUnavailable, BlobdError, StorageFull
from blobd.threads import Threads, outlast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from blobd.database.catalog import Clock
    from blobd.database.reader import Reader
    from blobd.database.transaction import Transaction

T = TypeVar("T")

_READERS = 4
_BUSY_WAIT_S = 30.0
_BUSY, _LOCKED, _READONLY, _IO, _FULL, _CANNOT_OPEN = 5, 6, 8, 10, 13, 14


class SqliteCatalog:
    """One file; a `blobd.database.Catalog`."""

    may_lose_locks = False

    def __init__(
        self,
        *,
        writer: Writer,
        reading: Engine,
        threads: Threads,
        reader: SqliteReader,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._reading = reading
        self._threads = threads
        self._writes = Line(2 * BATCH_MAX, wait_s=_BUSY_WAIT_S)  # one is written, one gathers
        self._reads = Line(_READERS, wait_s=_BUSY_WAIT_S)
        self.reader: Reader = reader
        self.now = clock

    async def write(
        self, work: Callable[[Transaction], T], *, alone: bool = False, synced: bool = True
    ) -> T:
        """Return what the work returns, once it is durable; it is undone when it raises.

        Raises BackendUnavailable when other processes hold the catalog for too long, StorageFull.
        """
        async with self._writes.turn():
            answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._writer.hand_over(Work(work, answer, alone=alone, synced=synced))
            with _translated():
                return await outlast(answer)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what the work returns: a single moment's view, whatever is written meanwhile.

        Raises BackendUnavailable.
        """
        async with self._reads.turn():
            with _translated():
                return await self._threads.run(self._read, work, asyncio.get_running_loop())

    def _read(self, work: Callable[[Transaction], T], loop: asyncio.AbstractEventLoop) -> T:
        with self._reading.begin() as connection:
            return work(SqliteTransaction(connection, loop))


@asynccontextmanager
async def open_sqlite(path: Path, *, durable: bool, clock: Clock) -> AsyncIterator[SqliteCatalog]:
    """Migrate where needed and open the catalog; any number of processes may have it open.

    `durable`: what was committed survives power loss, and not only a crash of blobd.
    Raises ConfigInvalid.
    """
    loop = asyncio.get_running_loop()
    threads = Threads(1 + _READERS, "blobd-catalog")
    async with AsyncExitStack() as stack:
        stack.callback(threads.close)
        await threads.run(migrate, path, durable=durable)
        engine = await threads.run(_open, path)
        event.listen(engine, "begin", _begin)
        stack.push_async_callback(threads.run, engine.dispose)
        reader = await threads.run(SqliteReader, path)
        stack.push_async_callback(threads.run, reader.close)
        writing_engine = await threads.run(_open, path)
        stack.push_async_callback(threads.run, writing_engine.dispose)
        connection = await threads.run(writing_engine.connect)
        stack.push_async_callback(threads.run, connection.close)
        turn_fd = await threads.run(os.open, lock_path(path), os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, turn_fd)
        writer = Writer(SqliteTransaction(connection, loop), turn_fd=turn_fd, durable=durable)
        writing = threads.start(writer.run)
        stack.push_async_callback(outlast, writing)
        stack.callback(writer.end)
        yield SqliteCatalog(
            writer=writer, reading=engine, threads=threads, reader=reader, clock=clock
        )


def _open(path: Path) -> Engine:
    """Return an engine, not connected yet."""
    engine = create_engine(
        f"sqlite:///{path}", pool_size=_READERS, max_overflow=0, pool_timeout=_BUSY_WAIT_S
    )

    def prepare(dbapi_connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # sqlite3 would otherwise begin transactions by itself, and later than wanted
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(_BUSY_WAIT_S * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(TEMPORARY_IN_MEMORY)
        cursor.close()

    event.listen(engine, "connect", prepare)
    check_statements(engine)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise BackendUnavailable("the catalog's connections are all in use") from error
    except (exc.DBAPIError, sqlite3.Error) as error:
        known = _known(error.orig if isinstance(error, exc.DBAPIError) else error)
        if known is None:
            raise
        raise known from error


def _known(error: BaseException | None) -> BlobdError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == _FULL:
        return StorageFull()
    if code in {_BUSY, _LOCKED, _READONLY, _IO, _CANNOT_OPEN}:
        return BackendUnavailable(f"the catalog cannot be used right now: {error}")
    return None
