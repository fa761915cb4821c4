"""What garbage collection starts from, and the blob API's hold, both in the catalog.

Collecting takes the digest's row, as do pushes, mounts and deletes in any process; what is seen
of the digest's holds then stays true until the bytes and the row are gone.

A database across a network may let go of the row while the removal of the bytes is under way: it
was restarted, or takes the collector for dead. So there the digest is condemned in a transaction
before. A push waits until the collector is done with it; if that dies, until `REMOVAL_S` is over,
which no removal outlives.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from blobd.errors import BlobNotFound
from blobd.registry.catalog import holds
from blobd.registry.catalog.holds import Deadlines
from blobd.registry.pins import pinned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from blobd.database import Catalog, Transaction
    from blobd.database.catalog import Clock
    from blobd.digest import Digest
    from blobd.graces import Graces
    from blobd.registry.catalog.holds import Holders
    from blobd.registry.pins import CatalogPin
    from blobd.store import BlobStore

_PAGE = 500
_PIN_GRACE_S = 3600


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason for a blob to live, in words. `lapsed`: it does not count any more."""

    reason: str
    lapsed: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with one digest."""

    size_bytes: int | None
    holds: tuple[Hold, ...]
    """Lapsed ones included."""

    @property
    def held(self) -> bool:
        """Whether anybody's hold still counts."""
        return any(not hold.lapsed for hold in self.holds)


class ApiKeeper:
    """The blob API's hand on the store; a `blobd.store.Keeper`."""

    def __init__(self, catalog: Catalog, store: BlobStore) -> None:
        self._catalog = catalog
        self._store = store

    @asynccontextmanager
    async def pin(self, digest: Digest) -> AsyncIterator[CatalogPin]:
        """Keep garbage collection off a digest; keeping it makes the blob API's hold."""

        def hold(transaction: Transaction) -> None:
            holds.hold_for_api(transaction, digest)

        async with pinned(self._catalog, digest, hold) as pin:
            yield pin

    async def release(self, digest: Digest) -> None:
        """End the blob API's hold; where it was the last one, the blob goes at once.

        Raises BlobNotFound when there is no such hold.
        """

        def release(transaction: Transaction) -> None:
            holds.lock(transaction, digest)
            if not holds.release_for_api(transaction, digest):
                raise BlobNotFound(digest)
            holds.set_hold_ended(transaction, digest, self._catalog.now())

        async def remove() -> None:
            # bytes that somebody removed by hand do not keep the hold from ending
            with suppress(BlobNotFound):
                await self._store.delete(digest)

        await self._catalog.write(release)
        await _forget(self._catalog, digest, remove)


class CatalogRoots:
    """The `Roots` of garbage collection (`blobd/upkeep/gc.py`)."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        upload_timeout_s: float,
        unnamed_link_grace_s: float,
        clock: Clock | None = None,
        graces: Graces | None = None,
    ) -> None:
        """`clock` says what has lapsed; None: the catalog's. `graces` may make it later."""
        self._graces = graces
        self._catalog = catalog
        self._clock = clock or catalog.now
        self._pin_lifetime_s = upload_timeout_s + _PIN_GRACE_S
        self._unnamed_link_grace_s = unnamed_link_grace_s

    async def candidates(self) -> AsyncIterator[Digest]:
        """Yield, in order, the digests of which a hold has ended or lapsed."""
        after = None
        while True:
            page = await self._catalog.read(
                partial(holds.candidates, deadlines=self._deadlines(), after=after, limit=_PAGE)
            )
            for digest in page:
                yield digest
            if len(page) < _PAGE:
                return
            after = page[-1]

    async def look(self, digest: Digest) -> Standing:
        """Return how it stands with a digest at this moment, changing nothing."""
        deadlines = self._deadlines()
        return _standing(
            await self._catalog.read(
                lambda transaction: holds.holders(transaction, digest, deadlines)
            )
        )

    async def settle(self, digest: Digest) -> Standing | None:
        """End a digest's lapsed holds, and return how it stood with it before.

        It is a candidate from now on only if nobody holds it. None when it was forgotten in the
        meantime.
        """
        deadlines = self._deadlines()

        def settle(transaction: Transaction) -> Standing | None:
            if not holds.lock(transaction, digest):
                return None
            holds.lock_links(transaction, digest, deadlines)
            standing = _standing(holds.holders(transaction, digest, deadlines))
            holds.end_lapsed(transaction, digest, deadlines)
            ended_at = None if standing.held else self._catalog.now()
            holds.set_hold_ended(transaction, digest, ended_at)
            return standing

        return await self._catalog.write(settle)

    async def forget(self, digest: Digest, remove: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Remove the bytes and the row of a digest, unless somebody holds it; return whether.

        Nobody pins, links or mounts it meanwhile. If `remove` raises, all is as before.
        """
        return await _forget(self._catalog, digest, remove)

    def _deadlines(self) -> Deadlines:
        now = self._clock()
        pin_s, link_s = self._pin_lifetime_s, self._unnamed_link_grace_s
        if self._graces is not None:
            uploads_s = self._graces.upload_timeout_s or self._graces.upload_idle_expiry_s
            pin_s = max(pin_s, uploads_s + _PIN_GRACE_S)
            link_s = max(link_s, self._graces.unnamed_link_grace_s)
        return Deadlines(
            pins_before=now - pin_s,
            unnamed_links_before=now - link_s,
        )


async def _forget(
    catalog: Catalog, digest: Digest, remove: Callable[[], Coroutine[Any, Any, None]]
) -> bool:
    """Remove bytes and row of a digest that nobody holds; return whether that was so.

    The holds have ended in transactions before this one: if a crash comes between the bytes and
    the commit, there is a row without bytes, which is a candidate still, but no link.
    """

    condemned_at = None
    if catalog.may_lose_locks:
        condemned_at = catalog.now()
        if not await catalog.write(partial(_condemn, digest=digest, now=condemned_at)):
            return False

    def forget(transaction: Transaction) -> bool:
        if not holds.lock(transaction, digest) or holds.is_held(transaction, digest):
            return False
        if condemned_at is not None and not _still_condemned(
            transaction, digest, at=condemned_at, now=catalog.now()
        ):
            return False
        transaction.wait(remove)
        holds.forget(transaction, digest)
        return True

    return await catalog.write(forget, alone=True)


def _condemn(transaction: Transaction, *, digest: Digest, now: float) -> bool:
    if not holds.lock(transaction, digest) or holds.is_held(transaction, digest):
        return False
    return holds.condemn(transaction, digest, now=now)


def _still_condemned(transaction: Transaction, digest: Digest, *, at: float, now: float) -> bool:
    """Return whether nobody but this collector may touch the bytes, for long enough from now."""
    return now - at < holds.REMOVAL_S / 2 and holds.is_condemned(transaction, digest, at=at)


def _standing(found: Holders) -> Standing:
    named = []
    if found.links:
        others = f" and {found.links - 1} more" if found.links > 1 else ""
        named.append(Hold(f"linked by {found.linked_by}{others}", lapsed=False))
    if found.pins:
        named.append(Hold("being pushed right now", lapsed=False))
    if found.api:
        named.append(Hold("held by the blob API", lapsed=False))
    if found.lapsed_links:
        others = f" and {found.lapsed_links - 1} more" if found.lapsed_links > 1 else ""
        reason = f"no manifest of {found.lapsed_by}{others} names it, and no pusher asked for it"
        named.append(Hold(reason, lapsed=True))
    if found.lapsed_pins:
        named.append(Hold("its push was broken off", lapsed=True))
    return Standing(found.size_bytes, tuple(named))
