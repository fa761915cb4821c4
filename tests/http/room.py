"""A front of one route that takes bodies in, on a loop of its own in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from aiohttp import web

from blobd.config import Limits
from blobd.fairness import NOBODY
from blobd.http.connection import Server
from blobd.http.middleware import Front, body_of
from blobd.http.routes import Routes
from blobd.metrics import Metrics
from tests.http.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(idle_timeout_s=60, head_timeout_s=60)


@dataclass(frozen=True, slots=True)
class Taken:
    """A body as it came out of the receive room."""

    path: str
    data: bytes
    error: str = ""
    """The class of what reading it raised."""


@dataclass(slots=True)
class Room:
    """`PUT|PATCH|POST /anything` reads the body; `GET` says `hello`; `PUT /refused` does not read.

    `GET /slow` answers once `open_gate` was called.
    """

    loop_factory: Callable[[], asyncio.AbstractEventLoop]
    limits: Limits = LIMITS
    buffer_bytes: int = 64 * 1024
    bodies: list[Taken] = field(default_factory=list)
    address: str = ""
    _thread: threading.Thread = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _stop: asyncio.Event = field(init=False)
    _gate: asyncio.Event = field(init=False)
    _listening: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._listening.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def talk(self) -> Talk:
        """Connect."""
        return Talk(self.address)

    def open_gate(self) -> None:
        self._loop.call_soon_threadsafe(self._gate.set)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self.loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._gate = asyncio.Event(), asyncio.Event()
        routes = Routes()
        routes.add("slow", "/slow", GET=self._slow)
        routes.add("refused", "/refused", PUT=self._refuse, POST=self._refuse)
        take = self._take
        routes.add("any", "/.*", GET=self._hello, PUT=take, PATCH=take, POST=take)
        front = Front(routes, limits=self.limits, metrics=Metrics(), account=_account)
        runner = web.ServerRunner(
            Server(front, head_timeout_s=self.limits.head_timeout_s), shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        self.address = f"{host}:{port}"
        self._listening.set()
        await self._stop.wait()
        await front.drain(0)
        await runner.cleanup()

    async def _hello(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="hello")

    async def _slow(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._gate.wait()
        return web.Response(text="slow")

    async def _refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=403, text="refused")

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        body = body_of(request, self.limits.idle_timeout_s)
        whole = bytearray()
        buffer = memoryview(bytearray(self.buffer_bytes))
        try:
            while await body.ready():
                for part in await body.receive(buffer):
                    whole += part
        except BaseException as error:
            self.bodies.append(Taken(request.path, bytes(whole), type(error).__name__))
            raise
        self.bodies.append(Taken(request.path, bytes(whole)))
        facts = {"size": len(whole), "sha256": sha256(whole).hexdigest()}
        return web.Response(body=json.dumps(facts).encode(), content_type="application/json")


def _account(request: web.BaseRequest) -> str:
    """Return whose share a request uses, as the client says."""
    return request.headers.get("X-Account", NOBODY)
