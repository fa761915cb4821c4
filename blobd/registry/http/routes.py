"""The registry's table of paths: which handler, and what one must be allowed to reach it.

Names are greedy, so paths match from the right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.http.upload_protocol import UPLOAD

if TYPE_CHECKING:
    from blobd.http.routes import Routes
    from blobd.registry.http.base import BaseRoutes
    from blobd.registry.http.blobs import BlobRoutes
    from blobd.registry.http.guard import Guard
    from blobd.registry.http.listings import ListingRoutes
    from blobd.registry.http.manifests import ManifestRoutes
    from blobd.registry.http.tokens import TokenRoutes
    from blobd.registry.http.uploads import UploadRoutes

TOKEN_PATH = "/token"  # noqa: S105 a path
_NAME = r"/v2/(?P<name>(?s:.+))"


def add_distribution(
    routes: Routes,
    guard: Guard,
    *,
    base: BaseRoutes,
    blobs: BlobRoutes,
    uploads: UploadRoutes,
    manifests: ManifestRoutes,
    listings: ListingRoutes,
) -> None:
    """Add what the distribution specification has, and docker's list of repositories."""
    routes.add("version", r"/v2/?", GET=base.version, HEAD=base.version)
    routes.add(
        "upload",
        rf"{_NAME}/blobs/uploads/{UPLOAD}",
        PATCH=guard.continues(uploads.append),
        PUT=guard.continues(uploads.finish),
        GET=guard.continues(uploads.status),
        HEAD=guard.continues(uploads.status),
        DELETE=guard.continues(uploads.cancel),
    )
    routes.add("uploads", rf"{_NAME}/blobs/uploads/?", POST=guard.writes(uploads.start))
    routes.add(
        "blob",
        rf"{_NAME}/blobs/(?P<digest>[^/]+)",
        GET=guard.reads(blobs.get),
        HEAD=guard.looks(blobs.head),
        DELETE=guard.deletes(blobs.delete),
    )
    routes.add(
        "manifest",
        rf"{_NAME}/manifests/(?P<reference>[^/]+)",
        GET=guard.reads(manifests.get),
        HEAD=guard.reads(manifests.head),
        PUT=guard.writes(manifests.put),
        DELETE=guard.deletes(manifests.delete),
    )
    tags = guard.reads(listings.tags)
    routes.add("tags", rf"{_NAME}/tags/list", GET=tags, HEAD=tags)
    referrers = guard.reads(listings.referrers)
    routes.add("referrers", rf"{_NAME}/referrers/(?P<digest>[^/]+)", GET=referrers, HEAD=referrers)
    routes.add("catalog", r"/v2/_catalog", GET=listings.repositories, HEAD=listings.repositories)
    routes.add("extensions", r"/v2/_oci/ext/discover", GET=base.extensions, HEAD=base.extensions)


def add_tokens(routes: Routes, tokens: TokenRoutes) -> None:
    """Add the token endpoint."""
    routes.add("token", TOKEN_PATH, GET=tokens.get, POST=tokens.post)
