"""The blob API's holds: made with a blob's commit, ended by DELETE."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from sqlalchemy import Column, ForeignKey, Table, delete

from blobd.database.columns import DigestText, metadata
from blobd.database.statements import upsert
from blobd.errors import BlobNotFound
from blobd.references import holds
from blobd.references.kinds import Kind
from blobd.references.pins import pinned
from blobd.references.roots import delete_unheld
from blobd.references.tables import blobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.references.pins import CatalogPin
    from blobd.references.references import References
    from blobd.store import BlobStore

api_holds = Table(
    "api_holds",
    metadata,
    Column("digest", DigestText, ForeignKey(blobs.c.digest), primary_key=True),
    sqlite_with_rowid=False,
)

API_HOLDS = Kind(api_holds, api_holds.c.digest, "held by the blob API")


class ApiHolder:
    """The blob API as a holder of blobs; a `blobd.store.BlobHolder`."""

    def __init__(self, catalog: Catalog, references: References, store: BlobStore) -> None:
        self._catalog = catalog
        self._references = references
        self._store = store

    @asynccontextmanager
    async def pin(self, digest: Digest) -> AsyncIterator[CatalogPin]:
        """Keep garbage collection off a digest; keeping it makes the hold."""

        def hold(transaction: Transaction) -> None:
            upsert(transaction, api_holds, {"digest": digest}, replace=[])

        async with pinned(self._catalog, digest, hold) as pin:
            yield pin

    async def release(self, digest: Digest) -> None:
        """End the hold; where nothing else refers to the blob, it goes at once.

        Raises BlobNotFound when there is no such hold.
        """

        def release(transaction: Transaction) -> None:
            holds.lock(transaction, digest)
            ended = transaction.execute(delete(api_holds).where(api_holds.c.digest == digest))
            if not ended.rowcount:
                raise BlobNotFound(digest)
            holds.set_hold_ended(transaction, digest, self._catalog.now())

        async def delete_bytes() -> None:
            # bytes that were removed by hand do not keep the hold from ending
            with suppress(BlobNotFound):
                await self._store.delete(digest)

        await self._catalog.write(release)
        await delete_unheld(self._catalog, self._references, digest, delete_bytes)
