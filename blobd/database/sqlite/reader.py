"""The reads of every request, from SQLite.

They run on the event loop, through one read-only connection with prepared statements: an indexed
read takes microseconds there and a hundred times that through a thread.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from blobd.database.transaction import check_texts
from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPORARY_IN_MEMORY = "PRAGMA temp_store = MEMORY"
"""Keeps sorting and the undoing of statements out of the temporary folder, which may be full."""


class SqliteReader:
    """One connection for the event loop; a `blobd.database.Reader`."""

    def __init__(self, path: Path) -> None:
        """Open the migrated database. Blocks."""
        self._connection = sqlite3.connect(
            f"file:{escaped(path)}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.execute(TEMPORARY_IN_MEMORY)

    async def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query. Raises BackendUnavailable, TextInvalid."""
        check_texts(values)
        try:
            # All rows are fetched, though there may be one: an unfinished statement would keep its
            # view of the database, and the write-ahead log from being folded in.
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            raise BackendUnavailable(f"the catalog cannot be read right now: {error}") from error

    def close(self) -> None:
        """Close the connection; blocks."""
        self._connection.close()


def escaped(path: Path) -> str:
    """Return a path as SQLite reads it in a URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
