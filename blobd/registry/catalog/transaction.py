"""One transaction, as the plain functions see it that make up its work.

They run on a thread of the catalog's, one statement after the other, and never on the event loop.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast, overload

from sqlalchemy.dialects import sqlite

from blobd.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Mapping

    from sqlalchemy import Connection, CursorResult, Executable
    from sqlalchemy.engine.interfaces import _CoreAnyExecuteParams
    from sqlalchemy.sql.selectable import TypedReturnsRows

    Parameters = Mapping[str, Any]

T = TypeVar("T")
Columns = TypeVarTuple("Columns")


class Transaction:
    """A transaction in progress. Use it from the function that was given it.

    `execute` composes any statement. `change` and `fetch` are for the statements of every push:
    SQLAlchemy's own execution takes ten times as long as SQLite does, so these are compiled once
    and then handed to the driver.
    """

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self.driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        """For who begins and ends the transaction."""
        self._loop = loop
        self.dialect = connection.dialect.name
        """`sqlite` or `postgresql`."""

    @overload
    def execute(
        self,
        statement: TypedReturnsRows[*Columns],
        parameters: _CoreAnyExecuteParams | None = None,
    ) -> CursorResult[*Columns]: ...

    @overload
    def execute(
        self, statement: Executable, parameters: _CoreAnyExecuteParams | None = None
    ) -> CursorResult[*tuple[Any, ...]]: ...

    def execute(
        self, statement: Executable, parameters: _CoreAnyExecuteParams | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        """Run one statement."""
        return self._connection.execute(statement, parameters)

    def change(self, statement: Executable, parameters: Parameters) -> int:
        """Run a statement that is kept in a constant; return how many rows it changed."""
        return self._run(statement, parameters).rowcount

    def fetch(self, statement: Executable, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Return all rows of a query that is kept in a constant, digests as they are written."""
        return self._run(statement, parameters).fetchall()

    def wait(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that runs on the event loop meanwhile.

        For work that was handed over with `alone`: other writers wait for the coroutine too.
        """
        return asyncio.run_coroutine_threadsafe(step(), self._loop).result()

    def _run(self, statement: Executable, parameters: Parameters) -> sqlite3.Cursor:
        text, order = _compiled(statement, tuple(parameters))
        values = [parameters[name] for name in order]
        return self.driver.execute(
            text, [str(value) if isinstance(value, Digest) else value for value in values]
        )


@cache
def _compiled(statement: Executable, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return a statement's text and in which order it takes the parameters of these names."""
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=list(names))  # type: ignore[attr-defined]
    return str(compiled), tuple(compiled.positiontup)
