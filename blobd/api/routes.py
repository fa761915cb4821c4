"""The blob API's table of routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.http.routes import Routes
from blobd.http.upload_protocol import UPLOAD

if TYPE_CHECKING:
    from blobd.api.blobs import BlobRoutes
    from blobd.api.health import HealthRoutes
    from blobd.api.uploads import UploadRoutes

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.yaml"})
"""Paths that need no token."""


def blob_api_routes(blobs: BlobRoutes, uploads: UploadRoutes, health: HealthRoutes) -> Routes:
    """Return the routes of the blob API."""
    routes = Routes()
    routes.add(
        "blob",
        r"/blobs/(?P<digest>[^/]+)",
        GET=blobs.get,
        HEAD=blobs.head,
        DELETE=blobs.delete,
    )
    routes.add("blobs", r"/blobs/?", GET=blobs.list)
    routes.add(
        "upload",
        rf"/uploads/{UPLOAD}",
        PATCH=uploads.append,
        PUT=uploads.finish,
        GET=uploads.status,
        HEAD=uploads.status,
        DELETE=uploads.cancel,
    )
    routes.add("uploads", r"/uploads/?", POST=uploads.start, GET=uploads.list)
    routes.add("healthz", r"/healthz", GET=health.alive, HEAD=health.alive)
    routes.add("readyz", r"/readyz", GET=health.ready, HEAD=health.ready)
    routes.add("metrics", r"/metrics", GET=health.metrics)
    routes.add("openapi", r"/openapi\.yaml", GET=health.openapi)
    return routes
