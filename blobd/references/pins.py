"""Pins: keeping garbage collection off a digest while its bytes are being published.

Pin the digest, publish, then turn the pin into a hold, in one transaction (promise 11). A pin
that a crash left behind lapses; `kinds.py` says when.

A pin does not wait for the disk: it is there for collectors, which power loss ends too. What power
loss can leave is bytes that were published moments before and that no row names. They are no
promise to anybody, collection never touches them, and a listing of the store set beside the
catalog shows them; the push that is sent again replaces them.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blobd.errors import BackendUnavailable
from blobd.references import holds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest

_DELETION_WAIT_S = 30.0
_DELETION_POLL_S = 0.02


class CatalogPin:
    """One pin in the catalog; a `blobd.store.Pin`."""

    def __init__(
        self,
        catalog: Catalog,
        digest: Digest,
        hold: Callable[[Transaction], None],
    ) -> None:
        self._catalog = catalog
        self._digest = digest
        self._hold = hold
        self._nonce = secrets.token_hex(16)
        self._kept = False

    async def take(self) -> None:
        """Write the pin; wait while a collector is deleting the digest's bytes.

        Raises BackendUnavailable when it does not come to an end.
        """

        def insert(transaction: Transaction) -> bool:
            now = self._catalog.now()
            return holds.insert_pin(transaction, self._digest, self._nonce, now=now)

        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _DELETION_WAIT_S
        while not await self._catalog.write(insert, synced=False):
            if loop.time() > give_up_at:
                raise BackendUnavailable(f"{self._digest} is being removed; send it again")
            await asyncio.sleep(_DELETION_POLL_S)

    async def keep(self, size_bytes: int) -> None:
        """Make the hold, drop the pin and end a quarantine, in one transaction.

        Raises BackendUnavailable when the pin has lapsed: the bytes may have been collected.
        """

        def keep(transaction: Transaction) -> None:
            holds.publish(transaction, self._digest, size_bytes, now=self._catalog.now())
            if not holds.drop_pin(transaction, self._nonce):
                raise BackendUnavailable(f"publishing {self._digest} took too long; send it again")
            self._hold(transaction)

        await self._catalog.write(keep)
        self._kept = True

    async def drop(self) -> None:
        """Remove the pin if no hold was made of it, and leave the digest to be collected."""
        if self._kept:
            return
        now = self._catalog.now()

        def drop(transaction: Transaction) -> None:
            if holds.drop_pin(transaction, self._nonce):
                holds.set_hold_ended(transaction, self._digest, now)

        await self._catalog.write(drop)


@asynccontextmanager
async def pinned(
    catalog: Catalog, digest: Digest, hold: Callable[[Transaction], None]
) -> AsyncIterator[CatalogPin]:
    """Pin a digest for the block. `hold` makes the hold, inside `keep`'s transaction."""
    pin = CatalogPin(catalog, digest, hold)
    try:
        await pin.take()
        yield pin
    finally:
        await pin.drop()
