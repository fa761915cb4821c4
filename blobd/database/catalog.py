"""What a catalog can do, on whatever database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from blobd.database.reader import Reader
    from blobd.database.transaction import Transaction

T = TypeVar("T")
Clock = Callable[[], float]


class Catalog(Protocol):
    """All tables: `write` and `read` in transactions, and a `reader` for every request.

    Raises BackendUnavailable wherever the database cannot be used at the moment; StorageFull.
    """

    reader: Reader
    """What requests wait for at every turn; read by it, and not by `read`."""
    now: Clock
    """Seconds since the epoch."""
    may_lose_locks: bool
    """Whether a transaction's locks may go while its work goes on, as across a network."""

    async def write(
        self, work: Callable[[Transaction], T], *, alone: bool = False, synced: bool = True
    ) -> T:
        """Return what the work returns, once it is durable; it is undone when it raises.

        It may share its commit with others, but for work that wants to be `alone`. What is not
        `synced` survives a kill of blobd at once, and power loss with the next commit that is.
        If cancelled: all of it is done, or nothing, and it works no more.
        """
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what the work returns: a single moment's view, whatever is written meanwhile."""
        ...
