"""The registry as one process of a daemon runs it: all of it that `app.py` knows.

It is imported where `registry.listen` is set, and nowhere else.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from blobd.http.cross_site import refuse_cross_site
from blobd.http.errors import RouteUnknown
from blobd.http.middleware import Front
from blobd.http.origin import Origins
from blobd.registry.auth.attempts import Attempts, account_of
from blobd.registry.auth.sealing import Seals
from blobd.registry.catalog.links import LINKS
from blobd.registry.http.front import open_registry
from blobd.registry.http.pages import is_page
from blobd.registry.http.routes import TOKEN_PATH
from blobd.registry.identity.first import FirstAdministrator, first_administrator
from blobd.registry.identity.signing_keys import keys_lie_open, open_seals, settle_signing_keys
from blobd.registry.packages.activity import forget_audit, note_operator
from blobd.registry.packages.label_audit import review_links
from blobd.registry.packages.trash import Trash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from blobd.config import Config
    from blobd.database import Catalog, Clock
    from blobd.graces import Graces
    from blobd.http.respond import Responder
    from blobd.http.upload_protocol import UploadProtocol
    from blobd.metrics import Metrics
    from blobd.references.kinds import Kind
    from blobd.references.quarantine import Quarantine
    from blobd.store import BlobStore
    from blobd.threads import Threads

__all__ = ["Attempts", "FirstAdministrator", "Registry"]

_OPEN_KEYS = (
    "the keys that bearer tokens are signed with are not encrypted in the database; set "
    "registry.signing_key_secret, the same on all replicas"
)

_log = logging.getLogger("blobd")


class Registry:
    """The registry of one process."""

    kinds: ClassVar[tuple[Kind, ...]] = (LINKS,)
    """What it refers to blobs with."""

    def __init__(
        self, catalog: Catalog, config: Config, *, seals: Seals, attempts: Attempts
    ) -> None:
        """`seals` are what signing keys are encrypted with, `attempts` counts failed logins."""
        self._catalog = catalog
        self._config = config
        self._seals = seals
        self._attempts = attempts
        self._trash = Trash(catalog, config.registry.trash_retention_s)

    @staticmethod
    def share() -> Attempts:
        """Return what the workers of a daemon share; to be made before they are forked."""
        return Attempts()

    @staticmethod
    def open_secrets(config: Config) -> list[str]:
        """Return what lies open of its secrets, a sentence each. Raises ConfigInvalid."""
        return [_OPEN_KEYS] if keys_lie_open(config) else []

    @classmethod
    async def open(
        cls, catalog: Catalog, config: Config, threads: Threads, attempts: Attempts | None
    ) -> Registry:
        """Return the registry of a catalog. Raises ConfigInvalid."""
        seals = await threads.run(open_seals, config) if config.registry.auth else Seals()
        return cls(catalog, config, seals=seals, attempts=attempts or cls.share())

    async def begin(self) -> FirstAdministrator | None:
        """Make the first administrator where there is nobody yet, and return it, once.

        After an upgrade, say once in the log what labels had given away. Raises ConfigInvalid.
        """
        found = await review_links(self._catalog)
        if found:
            _log.warning(
                "%d packages have links, rights or a visibility that labels gave them before "
                "labels gave none; `blobd package audit-links` lists them, and undoes it with "
                "--undo",
                found,
            )
        if not self._config.registry.auth:
            return None
        await settle_signing_keys(self._catalog, self._seals)
        return await first_administrator(self._catalog)

    async def purge_trash(self, *, clock: Clock, graces: Graces) -> None:
        """Delete for good what can be restored no longer."""
        await self._trash.purge(clock=clock, graces=graces)

    async def trim_audit(self, *, clock: Clock, graces: Graces) -> None:
        """Delete audit entries older than the retention period."""
        await forget_audit(self._catalog, graces.audit_retention_s, now=clock())

    async def note_operator(self, what: str) -> None:
        """Note in the audit what was done by the command line."""
        await note_operator(self._catalog, what)

    @asynccontextmanager
    async def open_front(
        self,
        *,
        store: BlobStore,
        quarantine: Quarantine,
        protocol: UploadProtocol,
        responder: Responder,
        metrics: Metrics,
    ) -> AsyncIterator[Front]:
        """Yield the outermost handler, and do the registry's work beside it while the block runs.

        Raises ConfigInvalid.
        """
        config = self._config
        origins = Origins(
            public_url=config.registry.public_url,
            trusted_proxies=config.registry.trusted_proxies,
            pages_url=config.pages.public_url,
        )

        def admit(request: web.BaseRequest) -> None:
            """Let in whom the guard at each path is to ask."""
            if origins.is_for_pages(request) and not is_page(request.path):
                raise RouteUnknown("only pages are at this address (pages.public_url)")
            refuse_cross_site(request, origins.own_host, guarded_paths=frozenset({TOKEN_PATH}))

        def account(request: web.BaseRequest) -> str:
            return account_of(origins.address(request))

        async with open_registry(
            catalog=self._catalog,
            store=store,
            quarantine=quarantine,
            protocol=protocol,
            responder=responder,
            config=config,
            origins=origins,
            attempts=self._attempts,
            seals=self._seals,
        ) as routes:
            yield Front(routes, limits=config.limits, metrics=metrics, admit=admit, account=account)
