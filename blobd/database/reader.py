"""Reads that requests wait for, each one a statement that was prepared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Reader(Protocol):
    """Runs prepared statements, each a transaction of its own, on connections kept for it.

    Statements are in what SQLite and PostgreSQL have in common, with `?` for each value. Every read
    sees what was committed before it, by whatever process; nothing is kept between two of them.
    """

    async def rows(self, statement: str, *values: str | float) -> Sequence[Sequence[Any]]:
        """Return all rows of a query. Raises BackendUnavailable, TextInvalid."""
        ...
