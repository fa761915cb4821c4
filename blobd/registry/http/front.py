"""The registry, wired: its routes, and its work beside them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from blobd.errors import ConfigInvalid
from blobd.http.answers import add_answers
from blobd.http.routes import Routes
from blobd.http.whole_bodies import WholeBodies
from blobd.registry.auth.bearer import Keyring
from blobd.registry.http.account_pages import AccountPages
from blobd.registry.http.answers import ANSWERS
from blobd.registry.http.base import BaseRoutes
from blobd.registry.http.blobs import BlobRoutes
from blobd.registry.http.guard import Guard
from blobd.registry.http.listings import ListingRoutes
from blobd.registry.http.manifests import ManifestRoutes
from blobd.registry.http.owner_settings import OwnerSettings
from blobd.registry.http.package_events import PackageEvents
from blobd.registry.http.package_pages import PackagePages
from blobd.registry.http.package_settings import PackageSettings
from blobd.registry.http.page_actions import Actions
from blobd.registry.http.pages import PageRoutes
from blobd.registry.http.rest.context import RestContext
from blobd.registry.http.rest.dispatch import Frame
from blobd.registry.http.rest.routes import add_rest, rest_operations
from blobd.registry.http.routes import add_distribution, add_tokens
from blobd.registry.http.sign_in import SignIn
from blobd.registry.http.token_pages import TokenPages
from blobd.registry.http.tokens import TokenRoutes
from blobd.registry.http.uploads import UploadRoutes
from blobd.registry.http.visits import Visits
from blobd.registry.identity.authenticator import Authenticator
from blobd.registry.identity.authorizer import Authorizer
from blobd.registry.identity.issue import Issuer
from blobd.registry.identity.signing_keys import load_signing_keys
from blobd.registry.identity.upload_secrets import UploadSecrets
from blobd.registry.labels import parse_host
from blobd.registry.links import LinkUses
from blobd.registry.manifests import Manifests
from blobd.registry.packages.activity import ActivityRecorder
from blobd.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.config import Config
    from blobd.database import Catalog
    from blobd.http.origin import Origins
    from blobd.http.respond import Responder
    from blobd.http.upload_protocol import UploadProtocol
    from blobd.references.quarantine import Quarantine
    from blobd.registry.auth.attempts import Attempts
    from blobd.registry.auth.sealing import Seals
    from blobd.store import BlobStore

_MANIFEST_THREADS = 2
_SERVICE = "blobd"
"""What bearer tokens are for, where no public URL says it."""


@asynccontextmanager
async def open_registry(
    *,
    catalog: Catalog,
    store: BlobStore,
    quarantine: Quarantine,
    protocol: UploadProtocol,
    responder: Responder,
    config: Config,
    origins: Origins,
    attempts: Attempts,
    seals: Seals,
) -> AsyncIterator[Routes]:
    """Yield the registry's routes, and do its work beside them while the block runs.

    Raises ConfigInvalid.
    """
    add_answers(ANSWERS)
    link_uses = LinkUses(catalog, unnamed_link_grace_s=config.upkeep.unnamed_link_grace_s)
    threads = Threads(_MANIFEST_THREADS, "blobd-manifests")
    activity = ActivityRecorder(catalog)
    routes = Routes()
    service = urlsplit(config.registry.public_url).netloc or _SERVICE
    keyring = Keyring(
        lambda: load_signing_keys(catalog, seals), audience=service, clock=catalog.now
    )
    authenticator = Authenticator(catalog, keyring, attempts) if config.registry.auth else None
    secrets = UploadSecrets(keyring) if config.registry.auth else None

    authorizer = Authorizer(catalog, authenticator, secrets)
    guard = Guard(authorizer, origins, service=service)
    bodies = WholeBodies(config.limits)
    work = PackageEvents(
        catalog,
        store,
        threads,
        trash_retention_s=config.registry.trash_retention_s,
        activity=activity,
        origins=origins,
        source_hosts=_source_hosts(config),
    )
    manifests = Manifests(
        catalog,
        threads,
        quarantine=quarantine,
        sparse_indexes=config.registry.sparse_indexes,
    )
    add_distribution(
        routes,
        guard,
        base=BaseRoutes(guard),
        blobs=BlobRoutes(catalog, quarantine, responder, link_uses),
        uploads=UploadRoutes(catalog, quarantine, protocol, guard, secrets),
        manifests=ManifestRoutes(catalog, manifests, work, bodies, config.limits),
        listings=ListingRoutes(catalog, guard),
    )
    operations = rest_operations(
        RestContext(catalog, work),
        trash_retention_s=config.registry.trash_retention_s,
        allow_unpublish=config.registry.allow_unpublish,
    )
    add_rest(routes, Frame(catalog, guard, origins, bodies), operations)
    visits = Visits(catalog, guard, origins, keyring, authenticator, bodies)
    actions = Actions(catalog, operations, origins)
    PageRoutes(catalog, visits).add_to(
        routes,
        PackagePages(catalog, threads, authorizer, visits, actions),
        SignIn(visits, work),
        PackageSettings(catalog, visits, actions),
        OwnerSettings(catalog, visits, actions),
        TokenPages(visits, actions),
        AccountPages(visits, actions, "users"),
        AccountPages(visits, actions, "organisations"),
    )
    if authenticator is not None:
        issuer = Issuer(catalog, keyring, config.limits)
        tokens = TokenRoutes(
            authenticator,
            issuer,
            guard,
            bodies,
            activity.used,
            refresh_tokens=config.registry.refresh_tokens,
        )
        add_tokens(routes, tokens)
    try:
        async with asyncio.TaskGroup() as group:
            writing = [group.create_task(each.run()) for each in (link_uses, activity)]
            try:
                yield routes
            finally:
                for task in writing:
                    task.cancel()
    finally:
        threads.close()


def _source_hosts(config: Config) -> tuple[str, ...]:
    """Return the hosts of labels that count. Raises ConfigInvalid."""
    hosts = []
    for text in config.registry.source_hosts:
        host = parse_host(text)
        if host is None:
            raise ConfigInvalid(
                f"registry.source_hosts: {text!r} is no host; write it without scheme and port, as "
                "git.example.org"
            )
        hosts.append(host)
    return tuple(hosts)
