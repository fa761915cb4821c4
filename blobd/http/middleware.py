"""What happens around every request of a front: route, time, map errors, settle the body."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from aiohttp import web

from blobd.errors import BodyBroken
from blobd.fairness import NOBODY, act_for
from blobd.http.answers import UNEXPECTED, answer_for, error_response, limit_of
from blobd.http.bodies import TakenBody, WireBody, check_body, open_body
from blobd.http.connection import SMALL_BODY_BYTES, connection_of, has_large_body
from blobd.http.drain import Drains
from blobd.http.errors import ExpectationUnsupported, RequestInvalid
from blobd.http.headers import complete

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.config import Limits
    from blobd.http.routes import Routes
    from blobd.metrics import Metrics

_SMALL_BODY_S = 1.0
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_CLIENT_GONE = "499"
"""The status in metrics and logs of a request whose client went away; nginx's number for it."""
_BODY = web.RequestKey("body", object)

_log = logging.getLogger("blobd.request")


class Front:
    """The outermost handler of one front."""

    def __init__(
        self,
        routes: Routes,
        *,
        limits: Limits,
        metrics: Metrics,
        admit: Callable[[web.BaseRequest], None] = lambda request: None,  # noqa: ARG005
        account: Callable[[web.BaseRequest], str] = lambda request: NOBODY,  # noqa: ARG005
    ) -> None:
        """`admit` raises what keeps a request out.

        `account` returns whose share of the limits a request uses, as long as nothing better is
        known of it.
        """
        self.routes = routes
        self._limits = limits
        self._metrics = metrics
        self._admit = admit
        self._account = account
        self._drains = Drains(limits, metrics)
        self._running: set[asyncio.Task[object]] = set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request runs in a task")
        self._running.add(task)
        try:
            return await self._answer(request)
        finally:
            self._running.discard(task)

    async def drain(self, timeout_s: float) -> None:
        """Wait for running requests to finish; cancel those that have not after `timeout_s`."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
        late = set(self._running)
        for task in late:
            task.cancel()
        if late:
            _log.warning("%d requests did not finish in %g s and were cut", len(late), timeout_s)
            await asyncio.wait(late)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        name, status = "unknown", _CLIENT_GONE
        act_for(self._account(request))
        try:
            try:
                route, handler, arguments = self.routes.find(
                    request.method, request.path, request.rel_url.raw_path
                )
                name = route.name
                self._check_body(request)
                self._admit(request)
                response = await handler(request, **arguments)
            except Exception as error:  # noqa: BLE001 the table decides; what it lacks is logged
                response = self._refuse(request, error)
                if not isinstance(error, BodyBroken | ConnectionError):
                    status = str(response.status)
            else:
                status = str(response.status)
            if not response.prepared:
                complete(response)
            try:
                await self._settle(request, response)
            except ConnectionError:
                status = _CLIENT_GONE
                response.force_close()
        finally:
            elapsed_s = time.perf_counter() - started
            self._metrics.request_duration.labels(name, status).observe(elapsed_s)
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug(
                    "%s %s %s",
                    request.method,
                    request.path,
                    status,
                    extra={"route": name, "elapsed_s": round(elapsed_s, 6)},
                )
        return response

    def _check_body(self, request: web.BaseRequest) -> None:
        if has_large_body(request) and request.method not in _WITH_BODY:
            raise RequestInvalid(f"a {request.method} request with a body is not understood")
        check_body(request)

    def _refuse(self, request: web.BaseRequest, error: Exception) -> web.Response:
        if isinstance(error, ConnectionError):
            error = BodyBroken(0)
        if answer_for(error) is UNEXPECTED:
            _log.exception("%s %s failed", request.method, request.path, exc_info=error)
        limit = limit_of(error)
        if limit is not None:
            self._metrics.refusals.labels(limit).inc()
        refusal = self.routes.refusal_at(request.path)
        return error_response(error) if refusal is None else refusal(request, error)

    async def _settle(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """See to a body that nobody has read to its end, so that the client reads the answer.

        Closing a socket with unread bytes makes the kernel send a reset, which takes the answer
        with it. So: answer, close after it, and read on for a while.
        """
        if not request.body_exists:
            return
        try:
            body = body_of(request, self._limits.idle_timeout_s)
        except (RequestInvalid, ExpectationUnsupported, ConnectionResetError):
            connection_of(request).close_after(response)
            return
        if not isinstance(body, TakenBody) and body.invited and response.status != 408:
            # A small one is taken in before the answer: some clients that are answered in the
            # middle of a body report that to their user, and not the answer.
            await body.discard(limit_bytes=SMALL_BODY_BYTES, limit_s=_SMALL_BODY_S)
        if isinstance(body, TakenBody) or not body.invited or response.status == 408:
            response.force_close()
        elif body.ended:
            return
        await response.prepare(request)
        await response.write_eof()
        if body.ended or not body.invited:
            return
        transport = request.transport
        if isinstance(body, TakenBody) and transport is not None and transport.can_write_eof():
            transport.write_eof()
        if isinstance(body, TakenBody):
            await self._drains.drain(body)
        else:
            await body.discard(limit_bytes=SMALL_BODY_BYTES, limit_s=_SMALL_BODY_S)


def body_of(request: web.BaseRequest, idle_timeout_s: float) -> WireBody:
    """Return the request's body, opened at the first call."""
    body = body_if_open(request)
    if body is None:
        body = open_body(request, idle_timeout_s=idle_timeout_s)
        request[_BODY] = body
    return body


def body_if_open(request: web.BaseRequest) -> WireBody | None:
    """Return the body if it was opened."""
    body = request.get(_BODY)
    return body if isinstance(body, WireBody) else None
