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
from blobd.backends.threads import Threads
from blobd.data_folder import exposed, protect, set_umask
from blobd.database import Catalog, catalog_file, catalog_place, load_catalog, open_catalog
from blobd.database.clock import database_now
from blobd.graces import Graces
from blobd.hashing import Hashing
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
from blobd.references.quarantine import Quarantine as Quarantine
from blobd.references.references import References, open_references
from blobd.references.roots import Roots
from blobd.references.scrub import Scrub
from blobd.references.store_marker import recognise_store
from blobd.registry.auth.attempts import Attempts as Attempts
from blobd.registry.auth.sealing import Seals
from blobd.registry.catalog.audit import Entry, write_entries
from blobd.registry.catalog.links import LINKS
from blobd.registry.http.front import open_registry
from blobd.registry.http.pages import is_page
from blobd.registry.http.routes import TOKEN_PATH
from blobd.registry.identity.first import FirstAdministrator as FirstAdministrator
from blobd.registry.identity.first import first_administrator
from blobd.registry.identity.signing_keys import (
    keys_lie_open,
    open_seals,
    settle_signing_keys,
)
from blobd.registry.packages.label_audit import review_links
from blobd.registry.packages.ledger import forget_audit
from blobd.registry.packages.trash import Trash
from blobd.room import Room
from blobd.store import BlobHolder, BlobStore
from blobd.upkeep.clock import SteadyClock, newest_trace
from blobd.uploads import Uploads
from blobd.wire.cross_site import refuse_cross_site
from blobd.wire.errors import RouteUnknown
from blobd.wire.identity import require_token
from blobd.wire.middleware import Front
from blobd.wire.origin import Origins, host_header
from blobd.wire.respond import Responder
from blobd.wire.upload_protocol import UploadProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from blobd.config import Config
    from blobd.series import SharedValues
    from blobd.wire.routes import Routes

_HASH_THREADS = 4
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a fresh folder in it, and the system's where there is none
"""Where the catalog of a store in memory lies: the temporary folder may run full."""
_SEND_THREADS = 8

_OPEN_KEYS = (
    "the keys that bearer tokens are signed with are not encrypted in the database; set "
    "registry.signing_key_secret, the same on all replicas"
)

_log = logging.getLogger("blobd")


@dataclass(frozen=True, slots=True)
class Shared:
    """What a worker shares with the others of its daemon."""

    values: SharedValues
    limits: Shares
    attempts: Attempts
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
    """The blob API's hand on the store."""
    references: References
    """What keeps blobs alive."""
    roots: Roots
    trash: Trash
    """What was deleted and can be restored."""
    seals: Seals
    """What signing keys are encrypted with."""
    attempts: Attempts
    clock: SteadyClock
    """By which things are old enough to be removed."""
    quarantine: Quarantine
    """What looks at stored bytes before anything is said of them."""
    graces: Graces
    """How long they are kept."""
    neighbours: Neighbours
    scrub: Scrub

    async def note_operator(self, what: str, *, package: str | None = None) -> None:
        """Note in the audit what was done by the command line, to a package (OWNER/NAME) if any."""
        entry = Entry(self.catalog.now(), "", "operator", package=package, detail=what)
        await self.catalog.write(lambda transaction: write_entries(transaction, [entry]))

    async def forget_audit(self) -> None:
        """Remove from the audit what is older than it is to be known."""
        retention_s = self.graces.audit_retention_s
        await forget_audit(self.catalog, retention_s, now=self.clock.now())


def load(config: Config) -> None:
    """Import all that `open_daemon` needs. Raises ConfigInvalid."""
    load_backend(config)
    load_catalog(catalog_place(config))


def protect_secrets(config: Config) -> None:
    """Keep other users of the machine out of what is on disk, and warn of what stays open.

    Sets the process's umask; repairs what is there. Blocks. Raises ConfigInvalid.
    """
    set_umask(config)
    protect(config, catalog_file(config))
    if keys_lie_open(config):
        _log.warning(_OPEN_KEYS)


def open_secrets(config: Config) -> list[str]:
    """Return what others could read that they should not, a sentence each. Blocks."""
    found = [str(one) for one in exposed(config, catalog_file(config))]
    return [*found, _OPEN_KEYS] if keys_lie_open(config) else found


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
        backend = open_backend(config, metrics, shares.parts)
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
        seals = await hash_threads.run(open_seals, config) if config.registry.auth else Seals()
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
        references = await open_references(catalog, (LINKS, API_HOLDS))
        quarantine = Quarantine(catalog, store, metrics)
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
            trash=Trash(catalog, config.registry.trash_retention_s),
            seals=seals,
            attempts=Attempts() if shared is None else shared.attempts,
            clock=clock,
            graces=graces,
            neighbours=Neighbours(catalog, config, graces),
            quarantine=quarantine,
            scrub=Scrub(catalog, store, quarantine, metrics),
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
    """Make the first administrator where there is nobody yet, and return it, once.

    After an upgrade, say once in the log what labels had given away. Raises ConfigInvalid.
    """
    await daemon.neighbours.check()
    found = await review_links(daemon.catalog)
    if found:
        _log.warning(
            "%d packages have links, rights or a visibility that labels gave them before labels "
            "gave none; `blobd package audit-links` lists them, and undoes it with --undo",
            found,
        )
    if not daemon.config.registry.auth:
        return None
    await settle_signing_keys(daemon.catalog, daemon.seals)
    return await first_administrator(daemon.catalog)


def _store_place(config: Config) -> str:
    if config.store.backend == "s3":
        return f"bucket {config.s3.bucket}, prefix {config.s3.prefix!r}"
    return config.store.path


@asynccontextmanager
async def _open_catalog(config: Config) -> AsyncIterator[Catalog]:
    """Open the registry's tables; beside a store in memory they are as short-lived as it is."""
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

    origins = Origins(
        public_url=config.registry.public_url,
        trusted_proxies=config.registry.trusted_proxies,
        pages_url=config.pages.public_url,
    )

    def admit_to_blob_api(request: web.BaseRequest) -> None:
        refuse_cross_site(request, host_header)
        if request.path not in OPEN_PATHS:
            require_token(request, config.blob_api.tokens)

    def admit_to_registry(request: web.BaseRequest) -> None:
        """Let in whom the guard at each path is to ask."""
        if origins.is_for_pages(request) and not is_page(request.path):
            raise RouteUnknown("only pages are at this address (pages.public_url)")
        refuse_cross_site(request, origins.own_host, guarded_paths=frozenset({TOKEN_PATH}))

    def front(routes: Routes, admit: Callable[[web.BaseRequest], None]) -> Front:
        return Front(routes, limits=config.limits, metrics=daemon.metrics, admit=admit)

    async with open_registry(
        catalog=daemon.catalog,
        store=daemon.store,
        quarantine=daemon.quarantine,
        protocol=protocol,
        responder=daemon.responder,
        config=config,
        origins=origins,
        attempts=daemon.attempts,
        seals=daemon.seals,
    ) as registry:
        yield {
            "blob_api": front(blob_api, admit_to_blob_api),
            "registry": front(registry, admit_to_registry),
        }
