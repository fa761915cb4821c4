"""One serving process: the two fronts on inherited sockets, and the jobs beside them.

On SIGTERM or SIGINT it stops in this order: no new connections; running requests finish within
`limits.drain_timeout_s`; what is left is cancelled, and uploads save their offset; jobs end; the
catalog and the backend close.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from blobd.app import RENEW_S, begin, open_daemon, open_fronts
from blobd.descriptors import RESERVE, connections_for
from blobd.errors import Refused
from blobd.http.connection import Server
from blobd.http.connections import Connections
from blobd.http.listen import BACKLOG
from blobd.references.collection import collect
from blobd.upkeep.jobs import Job, run_jobs
from blobd.upkeep.sweep import sweep

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from blobd.app import Daemon, FirstAdministrator, Shared
    from blobd.config import Config
    from blobd.http.middleware import Front
    from blobd.metrics import Metrics

_TIDY_INTERVAL_S = 600.0
_ROOM_INTERVAL_S = 10.0

_log = logging.getLogger("blobd")


async def run_worker(
    config: Config,
    listeners: Mapping[str, socket.socket],
    *,
    has_jobs: bool,
    ready: Callable[[FirstAdministrator | None], None],
    shared: Shared | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigInvalid.

    `ready` is called once connections are accepted, with the first administrator where this is the
    first start.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with open_daemon(config, shared) as daemon:
        first = await begin(daemon)
        async with (
            daemon.neighbours.joined() if has_jobs else nullcontext(),
            open_fronts(daemon) as fronts,
            run_jobs(_jobs(daemon) if has_jobs else (), daemon.metrics, daemon.clock),
            _listening(config, fronts, listeners, daemon.metrics),
        ):
            ready(first)
            await stopping.wait()
            _log.info("stopping: running requests have %g s", config.limits.drain_timeout_s)


def _jobs(daemon: Daemon) -> list[Job]:
    upkeep, now = daemon.config.upkeep, daemon.clock.now
    clean = partial(sweep, daemon.store.backend, daemon.metrics, clock=now)
    collect_now = partial(_collect, daemon)

    def removing(name: str, interval_s: float, call: Callable[[], Awaitable[object]]) -> Job:
        return Job(name, interval_s, partial(_after_a_look, daemon, call), removes=True)

    jobs = [
        Job("this daemon's lease", RENEW_S, daemon.neighbours.renew),
        Job("room", _ROOM_INTERVAL_S, daemon.room.watch),
        Job("scrub", _TIDY_INTERVAL_S if upkeep.scrub_bytes_per_s else 0, partial(_scrub, daemon)),
        removing("expiry of uploads", upkeep.expire_interval_s, daemon.uploads.expire),
        removing("garbage collection", upkeep.gc_interval_s, collect_now),
        removing("sweep", upkeep.sweep_interval_s, clean),
    ]
    registry = daemon.registry
    if registry is not None:
        purge = partial(registry.purge_trash, clock=now, graces=daemon.graces)
        trim = partial(registry.trim_audit, clock=now, graces=daemon.graces)
        jobs += [
            removing("trash", _TIDY_INTERVAL_S, purge),
            removing("audit", _TIDY_INTERVAL_S, trim),
        ]
    return jobs


async def _after_a_look(daemon: Daemon, call: Callable[[], Awaitable[object]]) -> None:
    """Do what removes things, which are kept as long as any living daemon keeps them."""
    await daemon.neighbours.look()
    await call()


async def _scrub(daemon: Daemon) -> None:
    upkeep = daemon.config.upkeep
    scrubbed = daemon.scrub.run(
        older_than_s=upkeep.scrub_interval_s, bytes_per_s=upkeep.scrub_bytes_per_s
    )
    with suppress(Refused):  # another replica does it
        async with aclosing(scrubbed) as each:
            async for _ in each:
                daemon.metrics.scrub_oldest_seconds.set(await daemon.scrub.oldest())
    daemon.metrics.scrub_oldest_seconds.set(await daemon.scrub.oldest())


async def _collect(daemon: Daemon) -> None:
    async for result in collect(daemon.roots, daemon.store, daemon.metrics, dry_run=False):
        if result.goes:
            _log.info(
                "blob collected",
                extra={"digest": str(result.digest), "reasons": "; ".join(result.reasons)},
            )


@asynccontextmanager
async def _listening(
    config: Config,
    fronts: Mapping[str, Front],
    listeners: Mapping[str, socket.socket],
    metrics: Metrics,
) -> AsyncIterator[None]:
    """Accept connections while the block runs; then drain them."""
    runners = []
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = connections_for(files, max_uploads=config.limits.max_uploads)
    connections = Connections(limit, metrics)
    for section, bound in listeners.items():
        server = Server(
            fronts[section],
            head_timeout_s=config.limits.head_timeout_s,
            connections=connections,
            reserve=RESERVE if section == "blob_api" else 0,
        )
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, bound, backlog=BACKLOG).start()
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            for site in list(runner.sites):
                await site.stop()
            if runner.server is not None:
                runner.server.pre_shutdown()
        for front in fronts.values():
            await front.drain(config.limits.drain_timeout_s)
        for runner in runners:
            await runner.cleanup()
