"""Links: what a repository may see, and what of it the registry keeps alive.

Knowing a digest is not having it (promise 10): a repository sees the blobs that were pushed or
mounted into it, whatever else the store holds.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blobd.errors import BlobdError, BlobNotFound
from blobd.references import holds
from blobd.references.pins import pinned
from blobd.registry.catalog import contents, repositories
from blobd.registry.catalog import links as link_rows
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.errors import BlobReferenced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.references.pins import CatalogPin
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog.read_queries import Link
    from blobd.registry.catalog.repositories import Maker
    from blobd.registry.names import RepositoryName

logger = logging.getLogger(__name__)

_TOUCH_INTERVAL_S = 3600
_GATHER_S = 1.0
_REFERRING_MAX = 20


class RepositoryHolder:
    """One repository as a holder of blobs; a `blobd.store.BlobHolder`. Its holds are links."""

    def __init__(
        self,
        catalog: Catalog,
        repository: RepositoryName,
        make: Maker | None = None,
    ) -> None:
        """`make` makes the repository where the first link finds none; None: it is nobody's."""
        self._catalog = catalog
        self._repository = repository
        self._make = make or repositories.maker(repository, now=catalog.now())

    @asynccontextmanager
    async def pin(self, digest: Digest) -> AsyncIterator[CatalogPin]:
        """Keep garbage collection off a digest; keeping it makes the link, and the repository."""

        def link(transaction: Transaction) -> None:
            link_rows.link(transaction, self._make(transaction), digest, now=self._catalog.now())

        async with pinned(self._catalog, digest, link) as pin:
            yield pin

    async def release(self, digest: Digest) -> None:
        """End the link: the repository no longer sees the blob.

        Raises BlobNotFound; BlobReferenced while a manifest of the repository names the blob. A
        manifest that is being pushed holds the row of the link until it is visible, so that one of
        the two waits for the other.
        """

        def release(transaction: Transaction) -> None:
            holds.lock(transaction, digest)
            if not link_rows.unlink(transaction, self._repository, digest):
                raise BlobNotFound(digest)
            manifests = _referring(transaction, self._repository, digest)
            if manifests:
                raise BlobReferenced(digest, manifests)
            holds.set_hold_ended(transaction, digest, self._catalog.now())

        await self._catalog.write(release)


def _referring(
    transaction: Transaction, repository: RepositoryName, digest: Digest
) -> list[Digest]:
    repository_id = repositories.find_repository(transaction, repository)
    if repository_id is None:
        return []
    return contents.referring(transaction, repository_id, digest, limit=_REFERRING_MAX)


async def mount(
    catalog: Catalog,
    digest: Digest,
    *,
    into: RepositoryName,
    source: RepositoryName | None,
    subject: Subject,
    make: Maker | None = None,
) -> bool:
    """Link a blob of another repository; return whether that could be done (R41).

    A source is one that the subject was found to read; without one, any that it may read will do.
    `make` makes the repository where there is none.
    """
    now = catalog.now()
    make_into = make or repositories.maker(into, now=now)

    def link(transaction: Transaction) -> bool:
        if not holds.lock(transaction, digest):
            return False
        if source is None:
            found = link_rows.is_linked_for(transaction, digest, subject)
        else:
            found = link_rows.is_linked(transaction, digest, (source, into))
        if not found:
            return False
        link_rows.link(transaction, make_into(transaction), digest, now=now)
        return True

    return await catalog.write(link)


class LinkUses:
    """Notes when pushers last asked for blobs, so that unnamed links are kept for them.

    At most once in an interval per link, gathered and written beside the requests by `run`.
    """

    def __init__(self, catalog: Catalog, *, unnamed_link_grace_s: float) -> None:
        self._catalog = catalog
        self._hot = ReadQueries(catalog.reader)
        self._grace_s = unnamed_link_grace_s
        self._interval_s = min(_TOUCH_INTERVAL_S, unnamed_link_grace_s / 2)
        self._gathered: dict[tuple[RepositoryName, Digest], float] = {}
        self._some = asyncio.Event()

    async def use(self, repository: RepositoryName, digest: Digest) -> Link | None:
        """Return a link that a pusher relies on from now, None where there is none.

        The touch is written at once only where garbage collection might otherwise end the link
        before the next write.
        """
        hot, now = self._hot, self._catalog.now()
        link = await hot.link(repository, digest)
        if link is None or now - link.touched_at < self._interval_s:
            return link
        self._gathered[repository, digest] = now
        lapses_soon = now - link.touched_at + 2 * self._interval_s > self._grace_s
        if lapses_soon and not await hot.named(repository, digest):
            await self.flush()
            return await hot.link(repository, digest)
        self._some.set()
        return link

    async def flush(self) -> None:
        """Write what was gathered. Raises what the catalog raises; then it is kept for later."""
        gathered, self._gathered = self._gathered, {}
        try:
            await self._catalog.write(lambda transaction: link_rows.touch(transaction, gathered))
        except BaseException:
            self._gathered = gathered | self._gathered
            raise

    async def run(self) -> None:
        """Write gathered touches until cancelled, and then the last of them."""
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(_GATHER_S)
                self._some.clear()
                await self._try_to_flush()
        finally:
            await self._try_to_flush()

    async def _try_to_flush(self) -> None:
        try:
            await self.flush()
        except BlobdError as error:
            logger.warning("link touches are not written yet: %s", error)
            self._some.set()
