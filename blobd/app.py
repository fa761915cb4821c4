"""The composition root: from a configuration to wired objects.

`open_daemon` wires what the command line needs too; `open_fronts` puts the two fronts on it.
"""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from blobd.api.blobs import BlobRoutes
from blobd.api.health import HealthRoutes
from blobd.api.holds import API_HOLDS, ApiHolder
from blobd.api.routes import OPEN_PATHS, blob_api_routes
from blobd.api.uploads import UploadRoutes
from blobd.backends import load_backend, open_backend
from blobd.data_folder import exposed, protect, set_umask
from blobd.database import Catalog, catalog_file, catalog_place, load_catalog, open_catalog
from blobd.database.clock import database_now
from blobd.errors import ConfigInvalid
from blobd.graces import Graces
from blobd.hashing import Hashing
from blobd.http.cross_site import refuse_cross_site
from blobd.http.identity import require_token
from blobd.http.middleware import Front
from blobd.http.origin import host_header
from blobd.http.respond import Responder
from blobd.http.upload_protocol import UploadProtocol
from blobd.limits import (
    SIZES_BYTES,
    SIZES_TO_PARTS_BYTES,
    Accounts,
    Admission,
    Budget,
    Shares,
)
from blobd.metrics import Metrics
from blobd.open_uploads import OpenUploads
from blobd.receive import Receiver
from blobd.references.neighbours import RENEW_S as RENEW_S
from blobd.references.neighbours import Neighbours
from blobd.references.quarantine import Quarantine
from blobd.references.references import References, open_references
from blobd.references.roots import Roots
from blobd.references.scrub import Scrub
from blobd.references.store_marker import recognise_store
from blobd.room import Room
from blobd.store import BlobHolder, BlobStore
from blobd.threads import Threads
from blobd.upkeep.clock import SteadyClock, newest_trace
from blobd.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from blobd.config import Config
    from blobd.registry.service import Attempts, Registry
    from blobd.registry.service import FirstAdministrator as FirstAdministrator
    from blobd.series import SharedValues

_HASH_THREADS = 4
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a fresh folder in it, and the system's where there is none
"""Where the catalog of a store in memory lies: the temporary folder may run full."""
_SEND_THREADS = 8

_log = logging.getLogger("blobd")


@dataclass(frozen=True, slots=True)
class Shared:
    """What a worker shares with the others of its daemon."""

    values: SharedValues
    limits: Shares
    attempts: Attempts | None
    """What the registry shares, as `share_registry` returned it."""
    trace_at: float | None
    """As `traced` returned before the worker was started."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """The wired parts, for the fronts and for the command line."""

    config: Config
    metrics: Metrics
    store: BlobStore
    uploads: Uploads
    room: Room
    responder: Responder
    catalog: Catalog
    holder: BlobHolder
    """The blob API's."""
    references: References
    """What keeps blobs alive."""
    roots: Roots
    clock: SteadyClock
    """By which things are old enough to be removed."""
    quarantine: Quarantine
    """What looks at stored bytes before anything is said of them."""
    graces: Graces
    """How long they are kept."""
    neighbours: Neighbours
    scrub: Scrub
    registry: Registry | None
    """None where it is not served."""


def load(config: Config) -> None:
    """Import all that `open_daemon` needs. Raises ConfigInvalid."""
    load_backend(config)
    load_catalog(catalog_place(config))
    _registry_of(config)


def share_registry(config: Config) -> Attempts | None:
    """Return what the registry's workers share, made before they are forked. Raises ConfigInvalid.

    None where it is not served.
    """
    registry = _registry_of(config)
    return None if registry is None else registry.share()


def _registry_of(config: Config) -> type[Registry] | None:
    """Return the registry where it is served: all that the daemon imports of it.

    Raises ConfigInvalid.
    """
    if not config.registry.listen:
        return None
    try:
        from blobd.registry.service import Registry
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("blobd.registry"):
            raise
        raise ConfigInvalid(
            f"registry.listen = {config.registry.listen!r}: this blobd was installed without the "
            "registry; set registry.listen to ''"
        ) from error
    return Registry


def protect_secrets(config: Config) -> None:
    """Keep other users of the machine out of what is on disk, and warn of what stays open.

    Sets the process's umask; repairs what is there. Blocks. Raises ConfigInvalid.
    """
    set_umask(config)
    protect(config, catalog_file(config))
    for sentence in _open_secrets_of_registry(config):
        _log.warning(sentence)


def open_secrets(config: Config) -> list[str]:
    """Return what others could read that they should not, a sentence each. Blocks."""
    found = [str(one) for one in exposed(config, catalog_file(config))]
    return [*found, *_open_secrets_of_registry(config)]


def _open_secrets_of_registry(config: Config) -> list[str]:
    registry = _registry_of(config)
    return [] if registry is None else registry.open_secrets(config)


@asynccontextmanager
async def open_daemon(
    config: Config, shared: Shared | None = None, *, recognises: bool = True
) -> AsyncIterator[Daemon]:
    """Open backend and catalog and wire everything on them; close them at the end.

    Raises ConfigInvalid. Other processes may have the same store open; `shared` is what those that
    are workers of the same daemon have in common. Unless it `recognises` them, catalog and store
    need not belong together.
    """
    metrics = Metrics(None if shared is None else shared.values)
    shares = Accounts(config).shares() if shared is None else shared.limits
    async with AsyncExitStack() as stack:
        backend = open_backend(config, metrics, shares.parts, shares.parts_of)
        stack.push_async_callback(backend.aclose)
        hash_threads = Threads(_HASH_THREADS, "blobd-hash")
        stack.callback(hash_threads.close)
        send_threads = Threads(_SEND_THREADS, "blobd-send")
        stack.callback(send_threads.close)
        store = BlobStore(backend, metrics)
        trace_at = traced(config) if shared is None else shared.trace_at
        catalog = await stack.enter_async_context(_open_catalog(config))
        if recognises and config.store.backend != "memory":
            await recognise_store(catalog, backend, where=_store_place(config))
        clock = SteadyClock(
            settle_s=config.upkeep.clock_settle_s,
            trace_at=trace_at,
            database_now=partial(catalog.read, database_now),
        )
        limits, graces = config.limits, Graces.of(config)
        budget = Budget(
            shares.buffers,
            wait_s=limits.budget_wait_s,
            metrics=metrics,
            sizes_bytes=SIZES_TO_PARTS_BYTES if config.parts_max_bytes else SIZES_BYTES,
            tally=shares.bytes_of,
            account_share=limits.account_share,
        )
        room = Room(backend, metrics, min_free_bytes=limits.min_free_bytes)
        uploads = Uploads(
            store=store,
            receiver=Receiver(budget, hash_threads, metrics),
            hashing=Hashing(),
            admission=Admission(
                shares.uploads,
                metrics,
                tally=shares.uploads_of,
                account_share=limits.account_share,
            ),
            open_uploads=OpenUploads(shares.open_uploads_of, shares.uploads.worker, limits),
            room=room,
            config=config,
            metrics=metrics,
            clock=clock.now,
            graces=graces,
        )
        served = _registry_of(config)
        kinds = () if served is None else served.kinds
        references = await open_references(catalog, (API_HOLDS, *kinds))
        quarantine = Quarantine(catalog, store, metrics)
        registry = None
        if served is not None:
            attempts = None if shared is None else shared.attempts
            registry = await served.open(catalog, config, hash_threads, attempts)
        yield Daemon(
            config=config,
            metrics=metrics,
            store=store,
            uploads=uploads,
            room=room,
            responder=Responder(send_threads, metrics),
            catalog=catalog,
            holder=ApiHolder(catalog, references, store),
            references=references,
            roots=Roots(catalog, references, graces, clock=clock.now),
            clock=clock,
            graces=graces,
            neighbours=Neighbours(catalog, config, graces),
            quarantine=quarantine,
            scrub=Scrub(catalog, store, quarantine, metrics),
            registry=registry,
        )


def traced(config: Config) -> float | None:
    """Return when a daemon last wrote on this machine, for a clock to be held against.

    To be asked before catalog and store are opened. None where there is no trace.
    """
    root, place = Path(config.store.path), catalog_place(config)
    paths = [] if config.store.backend == "memory" else [root / "uploads", root / "blobs"]
    if isinstance(place, Path):
        paths += [place, place.with_name(f"{place.name}-wal")]
    return newest_trace(paths)


async def begin(daemon: Daemon) -> FirstAdministrator | None:
    """Check that other daemons at the same store agree, and have the registry begin.

    Returns its first administrator where this is the first start. Raises ConfigInvalid.
    """
    await daemon.neighbours.check()
    return None if daemon.registry is None else await daemon.registry.begin()


def _store_place(config: Config) -> str:
    if config.store.backend == "s3":
        return f"bucket {config.s3.bucket}, prefix {config.s3.prefix!r}"
    return config.store.path


@asynccontextmanager
async def _open_catalog(config: Config) -> AsyncIterator[Catalog]:
    """Open the catalog; beside a store in memory they are as short-lived as it is."""
    durable = config.store.durability == "full"
    if config.store.backend == "memory" and not config.catalog.url:
        shared_memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else None
        with TemporaryDirectory(prefix="blobd-", dir=shared_memory) as folder:
            async with open_catalog(Path(folder) / "catalog.sqlite", durable=False) as catalog:
                yield catalog
        return
    async with open_catalog(catalog_place(config), durable=durable) as catalog:
        yield catalog


@asynccontextmanager
async def open_fronts(daemon: Daemon) -> AsyncIterator[dict[str, Front]]:
    """Yield the outermost handler of each front, by its section."""
    config = daemon.config
    protocol = UploadProtocol(daemon.uploads, config.limits)
    blob_api = blob_api_routes(
        BlobRoutes(daemon.quarantine, daemon.store, daemon.holder, daemon.responder),
        UploadRoutes(daemon.uploads, protocol, daemon.holder, config.blob_api.tokens),
        HealthRoutes(daemon.room, daemon.metrics),
    )

    def admit_to_blob_api(request: web.BaseRequest) -> None:
        refuse_cross_site(request, host_header)
        if request.path not in OPEN_PATHS:
            require_token(request, config.blob_api.tokens)

    fronts = {
        "blob_api": Front(
            blob_api, limits=config.limits, metrics=daemon.metrics, admit=admit_to_blob_api
        )
    }
    if daemon.registry is None:
        yield fronts
        return
    async with daemon.registry.open_front(
        store=daemon.store,
        quarantine=daemon.quarantine,
        protocol=protocol,
        responder=daemon.responder,
        metrics=daemon.metrics,
    ) as registry:
        yield {**fronts, "registry": registry}
