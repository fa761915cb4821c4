"""One transaction, whose statements a cancelled caller waits for.

SQLAlchemy's connections do not survive being cancelled in the middle of a statement: one that
holds SQLite's write lock would be lost with it, and the lock for ever. So every step runs in a
task of its own, and a cancellation is passed on between two steps, where undoing works.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from blobd.backends.threads import outlast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from sqlalchemy import CursorResult, Executable
    from sqlalchemy.engine.interfaces import _CoreAnyExecuteParams
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.sql.selectable import TypedReturnsRows

T = TypeVar("T")
Columns = TypeVarTuple("Columns")


class Transaction:
    """A transaction in progress. Use it from the block that began it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect.name
        """`sqlite` or `postgresql`."""

    @overload
    async def execute(
        self,
        statement: TypedReturnsRows[*Columns],
        parameters: _CoreAnyExecuteParams | None = None,
    ) -> CursorResult[*Columns]: ...

    @overload
    async def execute(
        self, statement: Executable, parameters: _CoreAnyExecuteParams | None = None
    ) -> CursorResult[*tuple[Any, ...]]: ...

    async def execute(
        self, statement: Executable, parameters: _CoreAnyExecuteParams | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        """Run one statement; all of its rows are there when it returns."""
        return await unbroken(self._connection.execute(statement, parameters))


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[Transaction]:
    """Begin with the first statement, commit at the end of the block, undo when it raises.

    If cancelled: undone, or, when that comes during the commit, done.
    """
    connection = engine.connect()
    try:
        yield Transaction(await unbroken(connection.start()))
        await unbroken(connection.commit())
    finally:
        if connection.sync_connection is not None:
            await unbroken(connection.close())


async def unbroken(step: Coroutine[Any, Any, T]) -> T:
    """Return what a step returns; a cancellation is passed on when it is done."""
    return await outlast(asyncio.get_running_loop().create_task(step))
