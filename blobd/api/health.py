"""`/healthz`, `/readyz`, `/metrics`, `/openapi.yaml`."""

from __future__ import annotations

import asyncio
import time
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from blobd.backends.base import Backend
    from blobd.metrics import Metrics

_PROBE_LIFETIME_S = 10.0


class HealthRoutes:
    """Handlers that operators and their machines ask."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._probing = asyncio.Lock()
        self._probed_at = float("-inf")
        self._openapi = resources.files(__package__).joinpath("openapi.yaml").read_bytes()

    async def alive(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        """200 while the process answers at all."""
        return web.Response(text="ok\n")

    async def ready(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        """200 when the backend could be written in the last 10 s; else the error's answer."""
        async with self._probing:
            if time.monotonic() - self._probed_at > _PROBE_LIFETIME_S:
                await self._backend.probe()
                self._probed_at = time.monotonic()
        return web.Response(text="ready\n")

    async def metrics(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return web.Response(
            body=self._metrics.render(),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    async def openapi(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return web.Response(body=self._openapi, content_type="application/yaml")
