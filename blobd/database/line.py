"""Whose turn it is at the database.

What a database does at one time is bounded, by connections or by who may write. Each use is short,
so an account may have all of it while it is alone; beside others, the account that has least goes
next, so that nobody waits behind all that one of them has asked for (`../fairness.py`).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blobd.errors import AccountBusy, BackendUnavailable
from blobd.fairness import FairPool, acting_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Line:
    """Turns at something. For one event loop."""

    def __init__(self, places: int, *, wait_s: float) -> None:
        """So many may have a turn at one time."""
        self._places = FairPool(places, share=1, wait_s=wait_s, what="turns at the catalog")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have a turn while the block runs, for the account that the task acts for.

        Raises BackendUnavailable when it did not come in time. If cancelled before, there is none.
        """
        account = acting_for()
        try:
            await self._places.take(account)
        except AccountBusy as error:
            raise BackendUnavailable("the catalog's connections are all in use") from error
        try:
            yield
        finally:
            self._places.give(account)
