"""A transaction on SQLite: on a thread of the catalog's, and if it writes, it alone does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from blobd.database.transaction import Transaction, check_texts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Sequence

    from sqlalchemy import Connection, Executable

    from blobd.database.transaction import Parameters

T = TypeVar("T")


class SqliteTransaction(Transaction):
    """A transaction in progress on a connection whose user begins and ends it."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(connection)
        self.driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        """For who begins and ends the transaction."""
        self._loop = loop

    def change(self, statement: Executable, parameters: Parameters) -> int:
        """Run a statement that is kept in a constant; return how many rows it changed."""
        return self.driver.execute(*self._compiled(statement, parameters)).rowcount

    def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Sequence[Any]]:
        """Return all rows of a query that is kept in a constant, digests as they are written."""
        return self.driver.execute(*self._compiled(statement, parameters)).fetchall()

    def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query in text, as a `Reader` does."""
        check_texts(values)
        return self.driver.execute(statement, values).fetchall()

    def wait(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that runs on the event loop meanwhile.

        All writers of all processes wait for it too.
        """
        return asyncio.run_coroutine_threadsafe(step(), self._loop).result()
