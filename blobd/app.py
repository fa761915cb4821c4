"""The composition root: from a configuration to wired objects to a running server.

`open_daemon` wires what the command line needs too. `serve` puts the two fronts on it, runs the
jobs beside them, and on SIGTERM or SIGINT stops in this order: no new connections; running
requests finish within `limits.drain_timeout_s`; what is left is cancelled, and uploads save their
offset; jobs end; the catalog and the backend close.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web

from blobd import __version__
from blobd.api.blobs import BlobRoutes
from blobd.api.health import HealthRoutes
from blobd.api.routes import OPEN_PATHS, blob_api_routes
from blobd.api.uploads import UploadRoutes
from blobd.backends import open_backend
from blobd.backends.threads import Threads
from blobd.errors import ConfigInvalid
from blobd.hashing import Hashing
from blobd.limits import Admission, Budget
from blobd.logs import configure_logs
from blobd.metrics import Metrics
from blobd.receive import Receiver
from blobd.registry.catalog import Catalog, catalog_path, open_catalog
from blobd.registry.http.front import open_registry
from blobd.registry.roots import ApiKeeper, CatalogRoots
from blobd.store import BlobStore, Keeper
from blobd.upkeep.gc import Roots, collect
from blobd.upkeep.jobs import Job, run_jobs
from blobd.uploads import Uploads
from blobd.wire.connection import Server
from blobd.wire.identity import require_token
from blobd.wire.listen import Address, bind, url_of
from blobd.wire.middleware import Front
from blobd.wire.respond import Responder
from blobd.wire.upload_protocol import UploadProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

    from blobd.config import Config
    from blobd.wire.routes import Routes

_HASH_THREADS = 4
_SEND_THREADS = 8

_log = logging.getLogger("blobd")


@dataclass(frozen=True, slots=True)
class Daemon:
    """The wired parts, for the fronts and for the command line."""

    config: Config
    metrics: Metrics
    store: BlobStore
    uploads: Uploads
    responder: Responder
    catalog: Catalog
    keeper: Keeper
    """The blob API's hand on the store."""
    roots: Roots


@asynccontextmanager
async def open_daemon(config: Config) -> AsyncIterator[Daemon]:
    """Open backend and catalog and wire everything on them; close them at the end.

    Raises ConfigInvalid. Other processes may have the same store open.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        backend = open_backend(config.store, metrics)
        stack.push_async_callback(backend.aclose)
        hash_threads = Threads(_HASH_THREADS, "blobd-hash")
        stack.callback(hash_threads.close)
        send_threads = Threads(_SEND_THREADS, "blobd-send")
        stack.callback(send_threads.close)
        store = BlobStore(backend, metrics)
        catalog = await stack.enter_async_context(_open_catalog(config))
        limits = config.limits
        budget = Budget(
            limits.bytes_in_flight_max_bytes, wait_s=limits.budget_wait_s, metrics=metrics
        )
        uploads = Uploads(
            store=store,
            receiver=Receiver(budget, hash_threads, metrics),
            hashing=Hashing(),
            admission=Admission(limits.max_uploads, metrics),
            config=config,
            metrics=metrics,
        )
        yield Daemon(
            config=config,
            metrics=metrics,
            store=store,
            uploads=uploads,
            responder=Responder(send_threads, metrics),
            catalog=catalog,
            keeper=ApiKeeper(catalog, store),
            roots=CatalogRoots(
                catalog,
                upload_timeout_s=limits.upload_timeout_s or limits.upload_idle_expiry_s,
                unnamed_link_grace_s=config.upkeep.unnamed_link_grace_s,
            ),
        )


@asynccontextmanager
async def _open_catalog(config: Config) -> AsyncIterator[Catalog]:
    """Open the registry's tables; beside a store in memory they are as short-lived as it is."""
    durable = config.store.durability == "full"
    if config.store.backend == "memory" and not config.catalog.url:
        with TemporaryDirectory(prefix="blobd-") as folder:
            async with open_catalog(Path(folder) / "catalog.sqlite", durable=False) as catalog:
                yield catalog
        return
    async with open_catalog(catalog_path(config), durable=durable) as catalog:
        yield catalog


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises ConfigInvalid."""
    configure_logs(config.log)
    listeners = _listeners(config)
    return uvloop.run(_serve(config, listeners))


async def _serve(config: Config, listeners: dict[str, socket.socket]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with open_daemon(config) as daemon:
        jobs = [
            Job("expiry of uploads", config.upkeep.expire_interval_s, daemon.uploads.expire),
            Job("garbage collection", config.upkeep.gc_interval_s, partial(_collect, daemon)),
        ]
        async with (
            _fronts(daemon) as fronts,
            run_jobs(jobs, daemon.metrics),
            _listening(config, fronts, listeners),
        ):
            _announce(config, listeners)
            await stopping.wait()
            _log.info("stopping: running requests have %g s", config.limits.drain_timeout_s)
    return 0


async def _collect(daemon: Daemon) -> None:
    async for verdict in collect(daemon.roots, daemon.store, daemon.metrics, dry_run=False):
        if verdict.goes:
            _log.info(
                "blob collected",
                extra={"digest": str(verdict.digest), "reasons": "; ".join(verdict.reasons)},
            )


@asynccontextmanager
async def _fronts(daemon: Daemon) -> AsyncIterator[dict[str, Front]]:
    """Yield the outermost handler of each front, by its section."""
    config = daemon.config
    protocol = UploadProtocol(daemon.uploads, config.limits)
    blob_api = blob_api_routes(
        BlobRoutes(daemon.store, daemon.keeper, daemon.responder),
        UploadRoutes(daemon.uploads, protocol, daemon.keeper),
        HealthRoutes(daemon.store.backend, daemon.metrics),
    )

    headers = (("Server", f"blobd/{__version__}"),)

    def check_token(request: web.BaseRequest) -> None:
        if request.path not in OPEN_PATHS:
            require_token(request, config.blob_api.tokens)

    def front(routes: Routes, admit: Callable[[web.BaseRequest], None]) -> Front:
        return Front(
            routes, limits=config.limits, metrics=daemon.metrics, admit=admit, headers=headers
        )

    async with open_registry(
        catalog=daemon.catalog,
        store=daemon.store,
        protocol=protocol,
        responder=daemon.responder,
        config=config,
    ) as registry:
        yield {
            "blob_api": front(blob_api, check_token),
            "registry": front(registry, _admit_all),
        }


def _admit_all(request: web.BaseRequest) -> None:
    """Let everyone in: the registry has no identities yet."""


def _listeners(config: Config) -> dict[str, socket.socket]:
    """Bind what is configured, having checked that nothing is exposed by mistake."""
    addresses = {}
    for section, text in (
        ("registry", config.registry.listen),
        ("blob_api", config.blob_api.listen),
    ):
        if text:
            addresses[section] = Address.parse(f"{section}.listen", text)
    if not addresses:
        raise ConfigInvalid("registry.listen and blob_api.listen are both empty: one is needed")
    registry, blob_api = addresses.get("registry"), addresses.get("blob_api")
    if registry is not None and not registry.private and not config.registry.insecure_open:
        raise ConfigInvalid(
            f"registry.listen = {config.registry.listen!r}: must be a loopback address or a unix "
            "socket; --insecure-open lets everyone who can reach it push, pull and delete"
        )
    if blob_api is not None and not blob_api.private and not config.blob_api.tokens:
        raise ConfigInvalid(
            f"blob_api.listen = {config.blob_api.listen!r}: must be a loopback address or a unix "
            "socket unless blob_api.tokens names at least one token"
        )
    return {section: bind(f"{section}.listen", address) for section, address in addresses.items()}


@asynccontextmanager
async def _listening(
    config: Config, fronts: dict[str, Front], listeners: dict[str, socket.socket]
) -> AsyncIterator[None]:
    """Accept connections while the block runs; then drain them."""
    runners = []
    for section, bound in listeners.items():
        server = Server(fronts[section], head_timeout_s=config.limits.head_timeout_s)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, bound).start()
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


def _announce(config: Config, listeners: dict[str, socket.socket]) -> None:
    lines = [f"blobd {__version__}, data in {config.store.path}"]
    registry = listeners.get("registry")
    if registry is not None:
        lines.append(f"registry  {url_of(registry)}")
    if "blob_api" in listeners:
        lines.append(f"blob API  {url_of(listeners['blob_api'])}")
    if registry is not None and url_of(registry).startswith("http://"):
        host = url_of(registry).removeprefix("http://")
        lines.append(
            f"try       docker tag IMAGE {host}/demo/image && docker push {host}/demo/image"
        )
        lines.append(
            "or        skopeo copy --dest-tls-verify=false "
            f"docker-daemon:IMAGE docker://{host}/demo/image:latest"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
