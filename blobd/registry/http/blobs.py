"""`/v2/<name>/blobs/<digest>`: what a repository sees of the store, and letting go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from blobd.digest import Digest
from blobd.errors import BlobNotFound
from blobd.http.headers import PRIVATE_FOR_GOOD, PUBLIC_FOR_GOOD
from blobd.http.respond import head_blob
from blobd.registry.auth.roles import Visibility
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.identity.confirm import ConfirmedCatalog
from blobd.registry.links import RepositoryHolder

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.http.respond import Responder
    from blobd.references.quarantine import Quarantine
    from blobd.registry.identity.authorizer import Access
    from blobd.registry.links import LinkUses


class BlobRoutes:
    """Handlers of one blob in one repository (end-2, end-10)."""

    def __init__(
        self, catalog: Catalog, quarantine: Quarantine, responder: Responder, link_uses: LinkUses
    ) -> None:
        self._catalog = catalog
        self._hot = ReadQueries(catalog.reader)
        self._quarantine = quarantine
        self._responder = responder
        self._link_uses = link_uses

    async def get(
        self, request: web.BaseRequest, access: Access, digest: str
    ) -> web.StreamResponse:
        """R21, R22."""
        repository, wanted = access.repository, Digest.parse(digest)
        if await self._hot.link(repository, wanted) is None:
            raise BlobNotFound(wanted)
        source = await self._quarantine.open(wanted)
        return await self._responder.send_blob(
            request, wanted, source, cache_control=_cache_control(access)
        )

    async def head(
        self, request: web.BaseRequest, access: Access, digest: str
    ) -> web.StreamResponse:
        """R23. A pusher that finds a blob here will not send it: the link is touched."""
        repository, wanted = access.repository, Digest.parse(digest)
        link = await self._link_uses.use(repository, wanted)
        if link is None or not await self._quarantine.is_whole(wanted, link.size_bytes):
            raise BlobNotFound(wanted)
        return head_blob(request, wanted, link.size_bytes, cache_control=_cache_control(access))

    async def delete(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        access: Access,
        digest: str,
    ) -> web.StreamResponse:
        """R69: gone from this repository at once, from the store when nobody holds it."""
        catalog = ConfirmedCatalog(self._catalog, access.confirm)
        await RepositoryHolder(catalog, access.repository).release(Digest.parse(digest))
        return web.Response(status=202)


def _cache_control(access: Access) -> str:
    """Return which caches can keep a blob: shared ones only if everyone can read it anyway."""
    return PUBLIC_FOR_GOOD if access.visibility is Visibility.PUBLIC else PRIVATE_FOR_GOOD
