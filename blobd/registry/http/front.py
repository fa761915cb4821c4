"""The registry, wired: its routes, and its work beside them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blobd.backends.threads import Threads
from blobd.registry.http.base import extensions, version
from blobd.registry.http.blobs import BlobRoutes
from blobd.registry.http.listings import ListingRoutes
from blobd.registry.http.manifests import ManifestRoutes
from blobd.registry.http.uploads import UploadRoutes
from blobd.registry.links import Touches
from blobd.registry.manifests import Manifests
from blobd.wire.routes import Routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.config import Config
    from blobd.registry.catalog import Catalog
    from blobd.store import BlobStore
    from blobd.wire.respond import Responder
    from blobd.wire.upload_protocol import UploadProtocol

_NAME = r"/v2/(?P<name>(?s:.+))"
_MANIFEST_THREADS = 2


@asynccontextmanager
async def open_registry(
    *,
    catalog: Catalog,
    store: BlobStore,
    protocol: UploadProtocol,
    responder: Responder,
    config: Config,
) -> AsyncIterator[Routes]:
    """Yield the registry's routes, and write link touches beside them while the block runs."""
    touches = Touches(catalog, unnamed_link_grace_s=config.upkeep.unnamed_link_grace_s)
    threads = Threads(_MANIFEST_THREADS, "blobd-manifests")
    try:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(touches.run())
            try:
                yield registry_routes(
                    BlobRoutes(catalog, store, responder, touches),
                    UploadRoutes(catalog, protocol),
                    ManifestRoutes(catalog, Manifests(catalog, threads), config.limits),
                    ListingRoutes(catalog),
                )
            finally:
                writing.cancel()
    finally:
        threads.close()


def registry_routes(
    blobs: BlobRoutes, uploads: UploadRoutes, manifests: ManifestRoutes, listings: ListingRoutes
) -> Routes:
    """Return the routes of the registry. Names are greedy, so paths match from the right."""
    routes = Routes()
    routes.add("version", r"/v2/?", GET=version, HEAD=version)
    routes.add(
        "upload",
        rf"{_NAME}/blobs/uploads/(?P<upload_id>[^/]+)",
        PATCH=uploads.append,
        PUT=uploads.finish,
        GET=uploads.status,
        HEAD=uploads.status,
        DELETE=uploads.cancel,
    )
    routes.add("uploads", rf"{_NAME}/blobs/uploads/?", POST=uploads.start)
    routes.add(
        "blob",
        rf"{_NAME}/blobs/(?P<digest>[^/]+)",
        GET=blobs.get,
        HEAD=blobs.head,
        DELETE=blobs.delete,
    )
    routes.add(
        "manifest",
        rf"{_NAME}/manifests/(?P<reference>[^/]+)",
        GET=manifests.get,
        HEAD=manifests.head,
        PUT=manifests.put,
        DELETE=manifests.delete,
    )
    routes.add("tags", rf"{_NAME}/tags/list", GET=listings.tags, HEAD=listings.tags)
    routes.add(
        "referrers",
        rf"{_NAME}/referrers/(?P<digest>[^/]+)",
        GET=listings.referrers,
        HEAD=listings.referrers,
    )
    routes.add("catalog", r"/v2/_catalog", GET=listings.repositories, HEAD=listings.repositories)
    routes.add("extensions", r"/v2/_oci/ext/discover", GET=extensions, HEAD=extensions)
    return routes
