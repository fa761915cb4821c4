"""The catalog on PostgreSQL: opening it, and its transactions.

Transactions run beside each other, at READ COMMITTED, and the row locks that their statements ask
for do what SQLite's one writer does there. Where two get in each other's way all the same, one of
them is run again, here and nowhere else.

A work runs in a task of its own, and who gave it up still waits for it: it is not broken off
between two statements, nor at the commit. All its waits are bounded (`connections.py`).
"""

from __future__ import annotations

import asyncio
import random
from asyncio import TaskGroup
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from blobd.database.line import Line
from blobd.database.postgresql.connections import (
    POOL_WAIT_S,
    Conflict,
    Route,
    close_engine,
    close_pool,
    open_engine,
    open_pool,
)
from blobd.database.postgresql.migrate import look, migrate
from blobd.database.postgresql.reader import PostgresqlReader
from blobd.database.postgresql.transaction import PostgresqlTransaction
from blobd.errors import BackendUnavailable
from blobd.threads import Threads, outlast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

    from blobd.database.catalog import Clock
    from blobd.database.reader import Reader
    from blobd.database.transaction import Transaction

T = TypeVar("T")

_HOT_CONNECTIONS = 4
_WRITERS = 4
_LONE_WRITERS = 2
_READERS = 2
_PAUSES_S = (0.01, 0.05, 0.2, 1.0)
"""Before a work is run again, at most."""

_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SYNCED = "; SET LOCAL synchronous_commit = on"
_UNSYNCED = "; SET LOCAL synchronous_commit = off"


@dataclass(frozen=True, slots=True)
class Begins:
    """How transactions begin."""

    synced: str
    """Those that have to survive power loss before they are answered."""
    unsynced: str
    """Those that do not."""
    read: str
    """Those that only read."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """So many connections, and who of those that wait uses one next."""

    engine: AsyncEngine
    line: Line


@dataclass(frozen=True, slots=True)
class Engines:
    """Connections, apart by who waits for whom: reads go on while writes wait for locks."""

    writes: Bounded
    lone_writes: Bounded
    """For work that may be slow, so that not all connections for writes are taken by it."""
    reads: Bounded


class PostgresqlCatalog:
    """One database; a `blobd.database.Catalog`."""

    may_lose_locks = True

    def __init__(
        self,
        *,
        engines: Engines,
        begins: Begins,
        reader: PostgresqlReader,
        clock: Clock,
        tasks: TaskGroup,
    ) -> None:
        self._engines = engines
        self._begins = begins
        self._tasks = tasks
        self.reader: Reader = reader
        self.now = clock

    async def write(
        self, work: Callable[[Transaction], T], *, alone: bool = False, synced: bool = True
    ) -> T:
        """Return what the work returns, once it is durable; it is undone when it raises.

        Raises BackendUnavailable, and then it may have been done all the same, as a whole, if
        the connection was lost at the very end. StorageFull.
        """
        connections = self._engines.lone_writes if alone else self._engines.writes
        begin = self._begins.synced if synced else self._begins.unsynced
        return await self._in_a_task(connections, begin, work)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what the work returns: a single moment's view, whatever is written meanwhile.

        Raises BackendUnavailable.
        """
        return await self._in_a_task(self._engines.reads, self._begins.read, work)

    async def _in_a_task(
        self, connections: Bounded, begin: str, work: Callable[[Transaction], T]
    ) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(_answer(answer, connections, begin, work))
        return await outlast(answer)


async def _answer(
    answer: asyncio.Future[Any],
    connections: Bounded,
    begin: str,
    work: Callable[[Transaction], Any],
) -> None:
    try:
        result = await _run(connections, begin, work)
    except Exception as error:  # noqa: BLE001 raised in the caller that waits for it
        answer.set_exception(error)
    except BaseException:
        answer.cancel()
        raise
    else:
        answer.set_result(result)


async def _run(connections: Bounded, begin: str, work: Callable[[Transaction], T]) -> T:
    """Run a transaction, retrying on conflicts; the last conflict is raised."""
    for pause_s in (*_PAUSES_S, None):
        try:
            async with connections.line.turn(), connections.engine.connect() as connection:
                return await connection.run_sync(_transact, begin, work)
        except Conflict as error:
            if pause_s is None:
                raise BackendUnavailable("others write the same again and again") from error
            await asyncio.sleep(pause_s * random.random())  # noqa: S311
    raise AssertionError("the last time either returns or raises")


def _transact(connection: Connection, begin: str, work: Callable[[Transaction], T]) -> T:
    transaction = PostgresqlTransaction(connection)
    try:
        transaction.begin(begin)
        result = work(transaction)
        transaction.commit()
    except Exception:
        transaction.abandon()
        raise
    except BaseException:
        transaction.hang_up()
        raise
    return result


@asynccontextmanager
async def open_postgresql(
    url: str, *, durable: bool, clock: Clock
) -> AsyncIterator[PostgresqlCatalog]:
    """Migrate where needed and open the catalog; any number of replicas may have it open.

    `durable`: what was committed survives a crash of the server. Raises ConfigInvalid.
    """
    found = await look(url, durable=durable)
    route = Route(url, pooled=found.pooled)
    async with AsyncExitStack() as stack:
        if not found.current:
            threads = Threads(1, "blobd-migrate")
            stack.callback(threads.close)
            await threads.run(migrate, route)
        engines = []
        for size in (_WRITERS, _LONE_WRITERS, _READERS):
            engine = open_engine(route, size=size)
            stack.push_async_callback(close_engine, engine)
            engines.append(Bounded(engine, Line(size, wait_s=POOL_WAIT_S)))
        pool = open_pool(route, size=_HOT_CONNECTIONS)
        stack.push_async_callback(close_pool, pool)
        await pool
        yield PostgresqlCatalog(
            engines=Engines(*engines),
            begins=_begins(route, durable=durable, waits_for_disk=found.waits_for_disk),
            reader=PostgresqlReader(pool, route, Line(_HOT_CONNECTIONS, wait_s=POOL_WAIT_S)),
            clock=clock,
            tasks=await stack.enter_async_context(_tasks()),
        )


@asynccontextmanager
async def _tasks() -> AsyncIterator[TaskGroup]:
    """Yield a group of tasks, and wait for them at the end of the block.

    What the block raises comes out as it is, and not in an exception group: callers distinguish
    errors apart by their class.
    """
    raised: Exception | None = None
    async with TaskGroup() as group:
        try:
            yield group
        except Exception as error:  # noqa: BLE001 - raised again below
            raised = error
    if raised is not None:
        raise raised


def _begins(route: Route, *, durable: bool, waits_for_disk: bool) -> Begins:
    """Return how to begin; what an operator asks for beyond the disk, such as a standby, stays."""
    write = _WRITE + route.bounds
    read = _READ + route.bounds
    unsynced = write + _UNSYNCED
    if not durable:
        return Begins(unsynced, unsynced, read)
    return Begins(write if waits_for_disk else write + _SYNCED, unsynced, read)
