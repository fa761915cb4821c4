"""`/v2/`: that this is a registry, and what it offers beyond the specification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from blobd.registry.http.guard import Guard

_EXTENSIONS = json.dumps(
    {
        "extensions": [
            {
                "name": "_oci",
                "url": "https://github.com/opencontainers/distribution-spec/tree/main/extensions",
                "description": "what extensions there are",
                "endpoints": ["_oci/ext/discover"],
            },
            {
                "name": "_catalog",
                "url": "https://distribution.github.io/distribution/spec/api/#listing-repositories",
                "description": "all repositories, by page",
                "endpoints": ["_catalog"],
            },
        ]
    }
).encode()


class BaseRoutes:
    """Handlers of what is about no repository."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def version(self, request: web.BaseRequest) -> web.StreamResponse:
        """R6: this is a registry; the header is what old clients look for."""
        await self._guard.version(request)
        return web.Response(
            body=b"{}",
            content_type="application/json",
            headers={"Docker-Distribution-API-Version": "registry/2.0"},
        )

    async def extensions(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        """The OCI extension that lists extensions."""
        return web.Response(body=_EXTENSIONS, content_type="application/json")
