"""A transaction on PostgreSQL.

The work runs on the event loop, in a greenlet of its own: where it waits for the server, others
run on. So nothing in it may hold up the loop, as nothing in a coroutine may.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from blobd.database.postgresql.connections import translated
from blobd.database.postgresql.reader import numbered
from blobd.database.transaction import Transaction, check_texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    import asyncpg
    from sqlalchemy import Connection, CursorResult, Executable
    from sqlalchemy.connectors.asyncio import AsyncAdapt_dbapi_connection

    from blobd.database.transaction import Parameters

T = TypeVar("T")


class PostgresqlTransaction(Transaction):
    """A transaction in progress: `begin`, the work, and `commit` or `abandon`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._adapted = cast("AsyncAdapt_dbapi_connection", connection.connection.dbapi_connection)
        self._driver = cast("asyncpg.Connection", self._adapted.driver_connection)

    def begin(self, statements: str) -> None:
        """Begin it, with all that is to hold for it."""
        self._run(lambda driver: driver.execute(statements))

    def commit(self) -> None:
        """Commit it. Where this raises BackendUnavailable, it may be committed or not."""
        if self._run(lambda driver: driver.execute("COMMIT")) != "COMMIT":
            raise AssertionError("a statement failed in this transaction, and its work went on")

    def abandon(self) -> None:
        """Undo it; a connection for which that is uncertain is closed, and the server undoes it."""
        try:
            if not self._driver.is_closed():
                self._run(lambda driver: driver.execute("ROLLBACK"))
        except Exception:  # noqa: BLE001 what matters is what has gone wrong before
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection at once, so that nothing waits for its answer."""
        self._driver.terminate()

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run one statement."""
        with self._asking():
            return super().execute(statement, parameters)

    def change(self, statement: Executable, parameters: Parameters) -> int:
        """Run a statement that is kept in a constant; return how many rows it changed."""
        text, values = self._compiled(statement, parameters)
        status: str = self._run(lambda driver: driver.execute(text, *values))
        return int(status.rpartition(" ")[2])

    def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Sequence[Any]]:
        """Return all rows of a query that is kept in a constant, digests as they are written."""
        text, values = self._compiled(statement, parameters)
        rows: Sequence[Sequence[Any]] = self._run(lambda driver: driver.fetch(text, *values))
        return rows

    def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query in text, as a `Reader` does."""
        check_texts(values)
        text = numbered(statement)
        rows: Sequence[Sequence[Any]] = self._run(lambda driver: driver.fetch(text, *values))
        return rows

    def wait(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that runs on the event loop meanwhile.

        The row locks that the transaction has stay with it, unless the server goes away.
        """
        self._run(lambda driver: driver.execute(_PATIENT))
        return self._adapted.run_async(lambda _: step())

    def _run(self, call: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        with self._asking():
            return self._adapted.run_async(call)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with translated():
            try:
                yield
            except OSError:  # its time is up, or the connection is lost
                self.hang_up()
                raise


_PATIENT = "SET LOCAL idle_in_transaction_session_timeout = '300s'"
