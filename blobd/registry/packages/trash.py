"""Deleting and restoring packages and versions, and ending what lay in the trash for long.

What is deleted is hidden at once, with its blobs held; it can be restored for as long as the
operator says, then it is forgotten and garbage collection may take the blobs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import Refused
from blobd.registry.auth.roles import Visibility
from blobd.registry.catalog import contents, packages, trash, versions
from blobd.registry.catalog.indexes import parents_of
from blobd.registry.catalog.repositories import find_repository
from blobd.registry.errors import (
    LastVersion,
    ManifestListed,
    ManifestUnknown,
    NameUnknown,
    NotFound,
    TooPopular,
)
from blobd.registry.names import RepositoryName

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.database.catalog import Clock
    from blobd.digest import Digest
    from blobd.graces import Graces
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog.packages import Package

POPULAR_DOWNLOADS = 5000
"""A public package or version with more is deleted by the administrator alone."""
_AT_ONCE = 100
_EMPTY_FOR_S = 86_400.0
"""How long a new package may be without a version: its first push may take a while."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trash:
    """The trash of all packages."""

    catalog: Catalog
    retention_s: float
    """How long what is deleted can be restored; 0: it is gone at once."""

    async def delete_package(self, package_id: int, subject: Subject) -> None:
        """Delete a package with all its versions. Raises NotFound, TooPopular."""
        now = self.catalog.now()

        def delete(transaction: Transaction) -> None:
            packages.lock_package(transaction, package_id)
            package = _known(transaction, package_id, deleted=False)
            _check_popularity(package, versions.most_downloads(transaction, package_id), subject)
            trash.rename_repository(transaction, package_id, trash.deleted_name(package_id))
            packages.change_package(transaction, package_id, deleted_at=now)
            if self.retention_s == 0:
                trash.drop_package(transaction, package_id)

        await self.catalog.write(delete)

    async def restore_package(self, package_id: int) -> None:
        """Bring a package back as it was. Raises NotFound; Refused where its name is in use."""
        now = self.catalog.now()
        deadline = now - self.retention_s

        def restore(transaction: Transaction) -> None:
            packages.lock_package(transaction, package_id)
            package = _known(transaction, package_id, deleted=True)
            if package.deleted_at is None or package.deleted_at < deadline:
                raise NotFound("deleted package", package.name)
            name = RepositoryName(f"{package.owner}/{package.name}")
            if not trash.rename_if_free(transaction, package_id, name, now=now):
                raise Refused(f"the name {name} is in use again; delete that package first")
            packages.change_package(transaction, package_id, deleted_at=None)

        await self.catalog.write(restore)

    async def delete_version(
        self, package_id: int, digest: Digest, subject: Subject, *, force: bool = False
    ) -> tuple[str, ...]:
        """Delete a version with its tags; return what that breaks, a sentence for each index.

        Raises ManifestUnknown, TooPopular, LastVersion; unless `force`, ManifestListed where it
        would break an index.
        """

        def delete(transaction: Transaction) -> tuple[str, ...]:
            packages.lock_package(transaction, package_id)
            _check_last(transaction, package_id, digest)
            return self._delete(transaction, package_id, digest, subject, force=force)

        return await self.catalog.write(delete)

    async def delete_manifest(
        self,
        repository: RepositoryName,
        digest: Digest,
        subject: Subject,
        *,
        force: bool = False,
    ) -> tuple[str, ...]:
        """Delete a version by its repository (R68); where that is no package it is gone at once.

        Clients of the registry may delete the last one: the next push finds the package as
        it was, and until then nobody sees it. Returns what that breaks, as `delete_version`.
        Raises NameUnknown, ManifestUnknown, TooPopular; unless `force`, ManifestListed.
        """

        def delete(transaction: Transaction) -> tuple[str, ...]:
            repository_id = find_repository(transaction, repository)
            if repository_id is None:
                raise NameUnknown(repository)
            breaks = self._delete(transaction, repository_id, digest, subject, force=force)
            package = packages.get_package(transaction, repository_id)
            if package is None or package.version_count:
                return breaks
            return (*breaks, f"{repository} has no version left and is hidden until the next push")

        return await self.catalog.write(delete)

    def _delete(
        self,
        transaction: Transaction,
        package_id: int,
        digest: Digest,
        subject: Subject,
        *,
        force: bool,
    ) -> tuple[str, ...]:
        now = self.catalog.now()
        packages.lock_package(transaction, package_id)
        package = packages.get_package(transaction, package_id)
        version = versions.find_digest(transaction, package_id, digest)
        if package is not None and version is not None and version.deleted_at is None:
            _check_popularity(package, version.downloads, subject)
        if self.retention_s == 0 or package is None or version is None:
            if not contents.delete_manifest(transaction, package_id, digest):
                raise ManifestUnknown(str(digest))
            versions.delete_version(transaction, package_id, digest)
        else:
            if not trash.trash_manifest(transaction, package_id, digest, now=now):
                raise ManifestUnknown(str(digest))
            versions.set_version_deleted(transaction, package_id, digest, now)
        # An index that is being pushed holds the rows of what it lists until it is visible: only
        # now is it certain which ones there are.
        parents = parents_of(transaction, package_id, [digest]).get(digest, ())
        if parents and not force:
            raise ManifestListed(digest, parents)
        return tuple(
            f"{parent} lists what was deleted; pulls of it through that index fail"
            for parent in parents
        )

    async def restore_version(self, package_id: int, version_id: int) -> tuple[str, ...]:
        """Bring a version back; return the tags that name something else by now, and stay so.

        Raises NotFound.
        """
        now = self.catalog.now()

        def restore(transaction: Transaction) -> tuple[str, ...]:
            packages.lock_package(transaction, package_id)
            version = versions.find_version(transaction, package_id, version_id)
            since = None if version is None else version.deleted_at
            if version is None or since is None or since < now - self.retention_s:
                raise NotFound("deleted version", str(version_id))
            in_use = trash.restore_manifest(transaction, package_id, version.digest, now=now)
            versions.set_version_deleted(transaction, package_id, version.digest, None)
            return tuple(in_use)

        return await self.catalog.write(restore)

    async def purge(self, *, clock: Clock | None = None, graces: Graces | None = None) -> None:
        """Forget what was deleted longer ago than it can be restored, and packages without any.

        Those are what pushes left that never got to a manifest, and what had its last version
        deleted; they go once no blob is linked in them. `clock` says what is old enough, and
        `graces` how long others restore it.
        """
        now = (clock or self.catalog.now)()
        retention_s = self.retention_s if graces is None else graces.trash_retention_s
        before = now - max(self.retention_s, retention_s)

        def drop(transaction: Transaction) -> int:
            gone, old = trash.list_overdue(transaction, before=before, limit=_AT_ONCE)
            for package_id in gone:
                trash.drop_package(transaction, package_id)
            for package_id, digest in old:
                if package_id not in gone:
                    trash.drop_manifest(transaction, package_id, digest)
                    versions.delete_version(transaction, package_id, digest)
            empty = trash.list_empty(transaction, before=now - _EMPTY_FOR_S, limit=_AT_ONCE)
            for package_id in empty:
                trash.rename_repository(transaction, package_id, trash.deleted_name(package_id))
                trash.drop_package(transaction, package_id)
            return len(gone) + len(old) + len(empty)

        while done := await self.catalog.write(drop):
            _log.info("%d deleted packages and versions are forgotten", done)


def _known(transaction: Transaction, package_id: int, *, deleted: bool) -> Package:
    package = packages.get_package(transaction, package_id)
    if package is None or (package.deleted_at is not None) is not deleted:
        raise NotFound("package", str(package_id))
    return package


def _check_last(transaction: Transaction, package_id: int, digest: Digest) -> None:
    """Raise LastVersion where a package would be left without a version, or a tagged one."""
    version = versions.find_digest(transaction, package_id, digest)
    package = packages.get_package(transaction, package_id)
    if package is None or version is None or version.deleted_at is not None:
        return
    if version.tags and not versions.is_tagged_beside(transaction, package_id, digest):
        raise LastVersion(package.name, tagged=True)
    if package.version_count == 1:
        raise LastVersion(package.name, tagged=False)


def _check_popularity(package: Package, downloads: int, subject: Subject) -> None:
    is_public = package.visibility == Visibility.PUBLIC
    if is_public and downloads > POPULAR_DOWNLOADS and not subject.is_administrator:
        raise TooPopular(downloads, POPULAR_DOWNLOADS)
