"""What garbage collection starts from, and the blob API's hold, both in the catalog.

Collecting takes the digest's row, as do pushes, mounts and deletes in any process; what is seen
of the digest's holds then stays true until the bytes and the row are gone.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import BlobNotFound
from blobd.registry.catalog import holds
from blobd.registry.catalog.holds import Deadlines
from blobd.registry.pins import pinned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.digest import Digest
    from blobd.registry.catalog import Catalog, Transaction
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


class ApiKeeper:
    """The blob API's hand on the store; a `blobd.store.Keeper`."""

    def __init__(self, catalog: Catalog, store: BlobStore) -> None:
        self._catalog = catalog
        self._store = store

    @asynccontextmanager
    async def pin(self, digest: Digest) -> AsyncIterator[CatalogPin]:
        """Keep garbage collection off a digest; keeping it makes the blob API's hold."""

        async def hold(transaction: Transaction) -> None:
            await holds.hold_for_api(transaction, digest)

        async with pinned(self._catalog, digest, hold) as pin:
            yield pin

    async def release(self, digest: Digest) -> None:
        """End the blob API's hold; where it was the last one, the blob goes at once.

        Raises BlobNotFound when there is no such hold.
        """
        async with self._catalog.writing() as transaction:
            await holds.lock(transaction, digest)
            if not await holds.release_for_api(transaction, digest):
                raise BlobNotFound(digest)
            if await holds.is_held(transaction, digest):
                await holds.set_hold_ended(transaction, digest, self._catalog.now())
                return
            # bytes that somebody removed by hand do not keep the hold from ending
            with suppress(BlobNotFound):
                await self._store.delete(digest)
            await holds.forget(transaction, digest)


class CatalogRoots:
    """The `Roots` of garbage collection (`blobd/upkeep/gc.py`)."""

    def __init__(
        self, catalog: Catalog, *, upload_timeout_s: float, unnamed_link_grace_s: float
    ) -> None:
        self._catalog = catalog
        self._pin_lifetime_s = upload_timeout_s + _PIN_GRACE_S
        self._unnamed_link_grace_s = unnamed_link_grace_s

    async def candidates(self) -> AsyncIterator[Digest]:
        """Yield, in order, the digests of which a hold has ended or lapsed."""
        after = None
        while True:
            async with self._catalog.reading() as transaction:
                page = await holds.candidates(
                    transaction, self._deadlines(), after=after, limit=_PAGE
                )
            for digest in page:
                yield digest
            if len(page) < _PAGE:
                return
            after = page[-1]

    async def look(self, digest: Digest) -> Standing:
        """Return how it stands with a digest at this moment, changing nothing."""
        async with self._catalog.reading() as transaction:
            return _standing(await holds.holders(transaction, digest, self._deadlines()))

    @asynccontextmanager
    async def claim(self, digest: Digest) -> AsyncIterator[CatalogClaim | None]:
        """Take a digest's row for the block, and end its lapsed holds.

        Nobody pins, links or mounts the digest meanwhile. If the block raises, all is as before.
        None when the digest was forgotten in the meantime.
        """
        deadlines = self._deadlines()
        async with self._catalog.writing() as transaction:
            if not await holds.lock(transaction, digest):
                yield None
                return
            await holds.lock_links(transaction, digest, deadlines)
            standing = _standing(await holds.holders(transaction, digest, deadlines))
            await holds.end_lapsed(transaction, digest, deadlines)
            await holds.set_hold_ended(transaction, digest, None)
            yield CatalogClaim(transaction, digest, standing)

    def _deadlines(self) -> Deadlines:
        now = self._catalog.now()
        return Deadlines(
            pins_before=now - self._pin_lifetime_s,
            unnamed_links_before=now - self._unnamed_link_grace_s,
        )


class CatalogClaim:
    """One digest's row, taken."""

    def __init__(self, transaction: Transaction, digest: Digest, standing: Standing) -> None:
        self._transaction = transaction
        self._digest = digest
        self.standing = standing

    async def forget(self) -> None:
        """Remove the row, once nobody holds the digest and its bytes are gone."""
        await holds.forget(self._transaction, self._digest)


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
