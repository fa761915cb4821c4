"""A package shop: pushes, deletes, restores and collects on a catalog and a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BlobNotFound
from blobd.metrics import Metrics
from blobd.references.collection import collect
from blobd.registry.auth.roles import SCOPES, Role, Visibility
from blobd.registry.auth.subjects import Subject
from blobd.registry.catalog import packages as package_rows
from blobd.registry.catalog import versions as version_rows
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.identity import accounts
from blobd.registry.identity.authorizer import Access
from blobd.registry.links import RepositoryHolder
from blobd.registry.manifests import Manifests
from blobd.registry.names import RepositoryName, Tag
from blobd.registry.packages.create import package_maker
from blobd.registry.packages.manage import find_package
from blobd.registry.packages.publish import PackagePublication
from blobd.registry.packages.trash import Trash
from blobd.threads import Threads
from tests.backends.acts import digest_of
from tests.registry.acts import asked, image, index, push_as, roots_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from blobd.database import Catalog
    from blobd.digest import Digest
    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.repositories import Maker
    from blobd.registry.catalog.versions import Version
    from blobd.store import BlobStore
    from tests.registry.acts import Clock

APP = RepositoryName("ada/app")
DAY_S = 86_400.0
RETENTION_S = 30 * DAY_S
GRACE_S = DAY_S


class Shop:
    """What Ada does with her package."""

    def __init__(
        self, catalog: Catalog, store: BlobStore, threads: Threads, clock: Clock, ada: Subject
    ) -> None:
        self.catalog = catalog
        self.store = store
        self.clock = clock
        self.ada = ada
        self.trash = Trash(catalog, RETENTION_S)
        self.roots = roots_of(catalog, unnamed_link_grace_s=GRACE_S)
        self.warnings: Sequence[str] = ()
        self._threads = threads
        self._manifests = Manifests(catalog, threads)

    async def push(
        self,
        *tags: str,
        labels: Mapping[str, str] | None = None,
        layer: bytes = b"layer",
        architecture: str = "amd64",
        repository: RepositoryName = APP,
        subject: Subject | None = None,
        exists: bool = True,
        built: Mapping[str, object] | None = None,
        **more: object,
    ) -> Digest:
        """Push an image with one layer under tags, or by its digest alone.

        `built` is what its configuration has beside its labels, `more` what its manifest has.
        """
        who = subject or self.ada
        make = self._maker(repository, who, exists=exists)
        holder = RepositoryHolder(self.catalog, repository, make)
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Labels": labels or {}},
            **(built or {}),
        }
        config_digest = await push_as(holder, self.store, json.dumps(config).encode())
        content = image(config_digest, await push_as(holder, self.store, layer), **more)
        return await self.put(content, *tags, repository=repository, subject=who)

    async def push_blob(self, data: bytes) -> Digest:
        """Push a blob alone, as an image's push begins."""
        make = self._maker(APP, self.ada, exists=True)
        holder = RepositoryHolder(self.catalog, APP, make)
        return await push_as(holder, self.store, data)

    def _maker(self, repository: RepositoryName, subject: Subject, *, exists: bool) -> Maker:
        """Return what makes a package for who was admitted to it, be it there or not."""
        access = Access(
            subject,
            repository,
            exists,
            Role.ADMIN,
            Visibility.PRIVATE,
            confirm=lambda _: None,
        )
        return package_maker(access, now=self.clock())

    async def push_index(self, *children: Digest, tags: Sequence[str], **more: object) -> Digest:
        return await self.put(index(*children, **more), *tags)

    async def put(
        self,
        content: bytes,
        *tags: str,
        repository: RepositoryName = APP,
        subject: Subject | None = None,
        content_type: str | None = None,
    ) -> Digest:
        who = subject or self.ada
        access = Access(
            who, repository, True, Role.ADMIN, Visibility.PRIVATE, confirm=lambda _: None
        )
        hosts = ("git.example",)
        publication = PackagePublication(self.catalog, self.store, self._threads, access, hosts)
        digest = digest_of(content)
        accepted = await self._manifests.put(
            repository,
            digest,
            content=content,
            content_type=content_type,
            tags=[Tag(tag) for tag in tags],
            make=self._maker(repository, who, exists=True),
            publication=publication,
        )
        self.warnings = (*accepted.warnings, *publication.warnings)
        return accepted.digest

    async def package(self, name: str = "app", *, deleted: bool = False) -> Package:
        return await find_package(self.catalog, "ada", name, deleted=deleted)

    async def versions(self, *, deleted: bool = False) -> list[Version]:
        package_id = (await self.package()).package_id
        return await self.catalog.read(
            lambda transaction: version_rows.list_versions(
                transaction, package_id, deleted=deleted, offset=0, limit=1000
            )
        )

    async def version(self, digest: Digest) -> Version:
        package_id = (await self.package()).package_id
        found = await self.catalog.read(
            lambda transaction: version_rows.find_digest(transaction, package_id, digest)
        )
        assert found is not None
        return found

    async def change(self, **values: object) -> None:
        """Set columns of the package, as nobody could by request."""
        package_id = (await self.package()).package_id
        await self.catalog.write(
            lambda transaction: package_rows.change_package(transaction, package_id, **values)
        )

    async def tags(self) -> dict[str, Digest]:
        names = await asked(self.catalog, "SELECT name FROM tags ORDER BY name")
        found = {}
        for name in names:
            stored = await ReadQueries(self.catalog.reader).tagged(APP, Tag(name))
            if stored is not None:
                found[name] = stored.digest
        return found

    async def collect(self) -> int:
        """Run garbage collection; return how many blobs it took."""
        verdicts = [
            verdict async for verdict in collect(self.roots, self.store, Metrics(), dry_run=False)
        ]
        return sum(verdict.goes for verdict in verdicts)

    async def is_stored(self, digest: Digest) -> bool:
        try:
            await self.store.stat(digest)
        except BlobNotFound:
            return False
        return True


@pytest.fixture
def threads() -> Iterator[Threads]:
    some = Threads(1, "test-packages")
    yield some
    some.close()


@pytest.fixture
async def shop(catalog: Catalog, store: BlobStore, threads: Threads, clock: Clock) -> Shop:
    await accounts.add_user(catalog, "ada")
    (ada_id,) = await asked(catalog, "SELECT id FROM accounts WHERE name = 'ada'")
    ada = Subject(ada_id, "ada", is_administrator=False, scopes=frozenset(SCOPES), token_id="t")
    return Shop(catalog, store, threads, clock, ada)
