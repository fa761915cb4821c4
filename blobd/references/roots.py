"""What garbage collection starts from, and the deletion of what nothing refers to.

Collecting takes the digest's row, as do pushes, mounts and deletes in any process; what is seen
of the digest's holds then stays true until the bytes and the row are gone.

A database across a network may let go of the row while the bytes are being deleted: it was
restarted, or takes the collector for dead. So there the digest is marked in a transaction before.
A push waits until the collector is done with it; if that dies, until `DELETING_S` have passed,
which no deletion outlives.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from blobd.references import holds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from blobd.database import Catalog, Clock, Transaction
    from blobd.digest import Digest
    from blobd.graces import Graces
    from blobd.references.references import HoldStatus, References

    DeleteBytes = Callable[[], Coroutine[Any, Any, None]]

_PAGE = 500


class Roots:
    """Why blobs live, for garbage collection (`collection.py`)."""

    def __init__(
        self,
        catalog: Catalog,
        references: References,
        graces: Graces,
        *,
        clock: Clock | None = None,
    ) -> None:
        """`clock` says what has lapsed; None: the catalog's.

        `graces` can make that later than they do at first, and never sooner.
        """
        self._catalog = catalog
        self._references = references
        self._graces = graces
        self._clock = clock or catalog.now
        self._latest = references.deadlines(graces, now=0)

    async def candidates(self) -> AsyncIterator[Digest]:
        """Yield, in order, the digests of which a hold has ended or lapsed."""
        after = None
        while True:
            page = await self._catalog.read(
                partial(
                    self._references.candidates,
                    deadlines=self._deadlines(),
                    after=after,
                    limit=_PAGE,
                )
            )
            for digest in page:
                yield digest
            if len(page) < _PAGE:
                return
            after = page[-1]

    async def inspect(self, digest: Digest) -> HoldStatus:
        """Return what holds a digest at this moment, changing nothing."""
        return await self._catalog.read(
            partial(self._references.status, digest=digest, deadlines=self._deadlines())
        )

    async def expire_holds(self, digest: Digest) -> HoldStatus | None:
        """End a digest's lapsed holds, durably, and return what held it before.

        It is a candidate from now on only if nobody holds it. None when its row is gone.
        """
        references, deadlines = self._references, self._deadlines()

        def expire(transaction: Transaction) -> HoldStatus | None:
            if not holds.lock(transaction, digest):
                return None
            references.lock(transaction, digest, deadlines)
            status = references.status(transaction, digest, deadlines)
            references.end_lapsed(transaction, digest, deadlines)
            ended_at = None if status.held else self._catalog.now()
            holds.set_hold_ended(transaction, digest, ended_at)
            return status

        return await self._catalog.write(expire)

    async def delete_unheld(self, digest: Digest, delete_bytes: DeleteBytes) -> bool:
        """Delete the bytes and the row of a digest unless it is held; return whether.

        Nobody pins, links or mounts it meanwhile. If `delete_bytes` raises, all is as before.
        """
        return await delete_unheld(self._catalog, self._references, digest, delete_bytes)

    def _deadlines(self) -> dict[str, float]:
        now = self._clock()
        found = self._references.deadlines(self._graces, now=now)
        return {kind: min(before, now + self._latest[kind]) for kind, before in found.items()}


async def delete_unheld(
    catalog: Catalog, references: References, digest: Digest, delete_bytes: DeleteBytes
) -> bool:
    """Delete bytes and row of a digest that nothing refers to; return whether that was so.

    The holds have ended in transactions before this one: if a crash comes between the bytes and
    the commit, there is a row without bytes, which is a candidate still, but no link. The row goes
    first, so that a reference which a newer blobd's table has fails this before the bytes are gone.
    """

    def is_free(transaction: Transaction) -> bool:
        return holds.lock(transaction, digest) and not references.has_any(transaction, digest)

    def mark(transaction: Transaction, now: float) -> bool:
        return is_free(transaction) and holds.mark_deleting(transaction, digest, now=now)

    marked_at = None
    if catalog.may_lose_locks:
        marked_at = catalog.now()
        if not await catalog.write(partial(mark, now=marked_at)):
            return False

    def delete(transaction: Transaction) -> bool:
        if not is_free(transaction):
            return False
        if marked_at is not None and not _still_deleting(
            transaction, digest, at=marked_at, now=catalog.now()
        ):
            return False
        holds.delete_row(transaction, digest)
        transaction.wait(delete_bytes)
        return True

    return await catalog.write(delete, alone=True)


def _still_deleting(transaction: Transaction, digest: Digest, *, at: float, now: float) -> bool:
    """Return whether nobody but this collector touches the bytes, for long enough from now."""
    return now - at < holds.DELETING_S / 2 and holds.is_deleting(transaction, digest, at=at)
