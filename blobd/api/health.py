"""`/healthz`, `/readyz`, `/metrics`, `/openapi.yaml`."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from blobd.errors import StorageFull
from blobd.http.errors import RequestInvalid

if TYPE_CHECKING:
    from blobd.metrics import Metrics
    from blobd.room import Room


class HealthRoutes:
    """Handlers that operators and their machines ask."""

    def __init__(self, room: Room, metrics: Metrics) -> None:
        self._room = room
        self._metrics = metrics
        self._openapi = resources.files(__package__).joinpath("openapi.yaml").read_bytes()

    async def alive(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        """200 while the process answers at all."""
        return web.Response(text="ok\n")

    async def ready(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 when the backend could be written in the last 10 s, and when it is only full.

        A full store goes on serving reads, so a load balancer must not drop it: the body says
        that writes are refused, and why. With `for=writes` it is 507, as an upload would be.
        Backend trouble is the error's answer (503) either way.
        """
        purpose = request.query.get("for", "reads")
        if purpose not in {"reads", "writes"}:
            raise RequestInvalid(f"for={purpose[:40]!r} is not known: it is reads or writes")
        state: dict[str, object] = {"reads": True, "writes": True}
        try:
            await self._room.probe()
        except StorageFull as error:
            if purpose == "writes":
                raise
            state |= {"writes": False, "reason": f"{error}: uploads are answered 507"}
        body = json.dumps(state).encode() + b"\n"
        return web.Response(body=body, content_type="application/json")

    async def metrics(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return web.Response(
            body=self._metrics.render(),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    async def openapi(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return web.Response(body=self._openapi, content_type="application/yaml")
