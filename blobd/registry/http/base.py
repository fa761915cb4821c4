"""`/v2/`: that this is a registry, and what it offers beyond the specification."""

from __future__ import annotations

import json

from aiohttp import web

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


async def version(request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG001
    """R6: this is a registry; the header is what old clients look for."""
    return web.Response(
        body=b"{}",
        content_type="application/json",
        headers={"Docker-Distribution-API-Version": "registry/2.0"},
    )


async def extensions(request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG001
    """The OCI extension that lists extensions."""
    return web.Response(body=_EXTENSIONS, content_type="application/json")
