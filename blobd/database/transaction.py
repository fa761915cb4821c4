"""One transaction, as the plain functions see it that make up its work.

They run one statement after the other and are the same on every database; who implements a
transaction says where they run, and never on a way that blocks the event loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg

from blobd.database import texts
from blobd.digest import Digest
from blobd.errors import TextInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from sqlalchemy import Connection, CursorResult, Engine, Executable
    from sqlalchemy.engine.interfaces import _CoreAnyExecuteParams
    from sqlalchemy.sql.selectable import TypedReturnsRows

    Parameters = Mapping[str, Any]

T = TypeVar("T")
Columns = TypeVarTuple("Columns")


class Transaction(ABC):
    """A transaction in progress. Use it from the function that was given it.

    Others write at the same time, but on SQLite: what a work relies on it has to lock, or to
    write in one statement. It may be run again where it met others, so what it does besides its
    statements must bear that; and it has to raise what a statement raises.

    `execute` composes any statement. `change` and `fetch` are for the statements of every push:
    SQLAlchemy's own execution takes ten times as long as SQLite does, so these are compiled once
    and then handed to the driver.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
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

    @abstractmethod
    def change(self, statement: Executable, parameters: Parameters) -> int:
        """Run a statement that is kept in a constant; return how many rows it changed."""

    @abstractmethod
    def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Sequence[Any]]:
        """Return all rows of a query that is kept in a constant, digests as they are written."""

    @abstractmethod
    def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query in text, as a `Reader` does."""

    @abstractmethod
    def wait(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that runs on the event loop meanwhile.

        For work that was handed over with `alone`: other writers may have to wait for the
        coroutine too.
        """

    def _compiled(self, statement: Executable, parameters: Parameters) -> tuple[str, list[Any]]:
        """Return a statement's text and its values, as the driver takes them."""
        text, order = _compiled(self.dialect, statement, tuple(parameters))
        values = [parameters[name] for name in order]
        check_texts(values)
        return text, [str(value) if isinstance(value, Digest) else value for value in values]


def check_texts(values: Iterable[object]) -> None:
    """Raise TextInvalid where a value is a text that some database does not take.

    Every value of every statement comes by here, on either database.
    """
    for value in values:
        if isinstance(value, str):
            why = texts.problem(value)
            if why is not None:
                raise TextInvalid("a text of this request", why)


def check_statements(engine: Engine) -> None:
    """Hold all values of an engine's statements to `check_texts`."""

    def check(
        _connection: Connection,
        _cursor: object,
        _statement: str,
        parameters: Any,
        _context: object,
        executemany: bool,  # noqa: FBT001 SQLAlchemy's own
    ) -> None:
        for some in parameters if executemany else (parameters,):
            check_texts(some.values() if isinstance(some, Mapping) else some)

    event.listen(engine, "before_cursor_execute", check)


_DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": asyncpg.dialect()}  # type: ignore[no-untyped-call]


@cache
def _compiled(
    dialect: str, statement: Executable, names: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Return a statement's text and in which order it takes the parameters of these names."""
    compiled = statement.compile(dialect=_DIALECTS[dialect], column_keys=list(names))  # type: ignore[attr-defined]
    return str(compiled), tuple(compiled.positiontup)
