"""What a push of a manifest makes of its package: a version, a description, a link.

Everything is written in the push's own transaction. What an image says wrongly of itself never
makes its push fail: the pusher is warned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import BlobNotFound
from blobd.registry.auth.decide import role_of
from blobd.registry.auth.roles import Role
from blobd.registry.catalog import contents, packages, trash, versions
from blobd.registry.catalog.auth_queries import AuthQueries, asked_within
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.catalog.versions import NewVersion
from blobd.registry.documents import read_document
from blobd.registry.errors import ManifestInvalid, TagImmutable
from blobd.registry.labels import (
    SOURCE,
    Description,
    describe,
    labels_of_config,
    platform_of_config,
)
from blobd.registry.media_types import IMAGE_CONFIGS, IMAGES, normalised
from blobd.registry.packages.base_image import came_along, named_base
from blobd.registry.packages.label_link import Linked, Push, link_by_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.registry.catalog.packages import Published
    from blobd.registry.documents import Document
    from blobd.registry.identity.authorizer import Access
    from blobd.registry.manifests import Pushed
    from blobd.registry.names import RepositoryName, Tag
    from blobd.registry.packages.base_image import NamedBase
    from blobd.store import BlobStore
    from blobd.threads import Threads

_CONFIG_MAX_BYTES = 4 * 1024 * 1024


class PackagePublication:
    """One push into a package; a `blobd.registry.manifests.Publication`."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        threads: Threads,
        access: Access,
        source_hosts: Iterable[str],
    ) -> None:
        """`source_hosts`: whose OWNER/REPOSITORY are this registry's source repositories."""
        self._catalog = catalog
        self._access = access
        self._repository = access.repository
        self._store = store
        self._threads = threads
        self._source_hosts = frozenset(source_hosts)
        self._now = catalog.now()
        self.linked: Linked | None = None
        """What became of the image's source label; None where it has none, or was linked before."""
        self._said = Description()
        self._platform: str | None = None
        self._base: NamedBase | None = None
        """The base image that the source label came with, where that is known."""

    @property
    def warnings(self) -> Sequence[str]:
        """What of the image's own words was not taken over, and why."""
        if self.linked is None or self.linked.warning is None:
            return self._said.warnings
        return (*self._said.warnings, self.linked.warning)

    async def read(self, document: Document) -> None:
        """Read what an image says of itself: labels of its configuration, or annotations."""
        labels = dict(document.annotations)
        if document.media_type in IMAGES:
            config = document.blobs[0]
            if normalised(config.media_type) in IMAGE_CONFIGS:
                content = await self._content(self._repository, config.digest)
                labels |= labels_of_config(content)
                self._platform = platform_of_config(content)
                if SOURCE in labels:
                    self._base = await self._find_base(document, content)
        self._said = describe(labels)

    async def _find_base(self, document: Document, config: bytes) -> NamedBase | None:
        """Return the base image that the source label came with; None where nobody can know."""
        base = named_base(document.annotations)
        if base is None:
            return None
        callers, subject = AuthQueries(self._catalog.reader), self._access.subject
        standing = await callers.facts(subject, base.repository)
        if role_of(subject, standing) < Role.READ:
            return None
        hot = ReadQueries(self._catalog.reader)
        found = [
            None if base.digest is None else await hot.manifest(base.repository, base.digest),
            None if base.tag is None else await hot.tagged(base.repository, base.tag),
        ]
        for manifest in found:
            if manifest is None or manifest.content is None or manifest.media_type not in IMAGES:
                continue
            try:
                below = read_document(manifest.content, manifest.media_type).blobs[0]
            except ManifestInvalid:
                continue
            content = await self._content(base.repository, below.digest)
            if await self._threads.run(came_along, SOURCE, config, content):
                return base
        return None

    async def _content(self, repository: RepositoryName, digest: Digest) -> bytes:
        """Return a configuration; nothing where it is too large, or not for this repository."""
        if await ReadQueries(self._catalog.reader).link(repository, digest) is None:
            return b""
        try:
            content = await self._store.read_small(
                digest, limit_bytes=_CONFIG_MAX_BYTES, threads=self._threads
            )
        except BlobNotFound:
            return b""
        return content or b""

    def takes_sparse_indexes(self, transaction: Transaction, repository_id: int) -> bool:
        """Return whether the package takes indexes without the manifests that they list."""
        package = packages.published(transaction, repository_id)
        return package is not None and package.sparse_indexes

    def write(
        self, transaction: Transaction, repository_id: int, pushed: Pushed, tags: Sequence[Tag]
    ) -> None:
        """Write the version and what it changes. Raises TagImmutable."""
        self.linked = None
        package = packages.published(transaction, repository_id)
        if package is None:
            return
        if package.immutable_tags:
            _check_tags(transaction, repository_id, pushed, tags)
        is_first = not versions.has_versions(transaction, repository_id)
        if versions.is_deleted(transaction, repository_id, pushed.digest):
            trash.drop_manifest(transaction, repository_id, pushed.digest)
        changes: dict[str, object] = {}
        if pushed.prevails:
            version = self._version(transaction, repository_id, pushed)
            versions.write_version(transaction, repository_id, version, now=self._now)
            if tags or is_first:
                changes = self._changes(transaction, repository_id, package, is_first=is_first)
        else:
            versions.note_push(transaction, repository_id, pushed.digest, now=self._now)
        packages.change_package(transaction, repository_id, updated_at=self._now, **changes)

    def _version(self, transaction: Transaction, repository_id: int, pushed: Pushed) -> NewVersion:
        document = pushed.document
        named = {blob.digest for blob in document.blobs}
        size_bytes = pushed.size_bytes + versions.size_of(transaction, named)
        platforms = set(filter(None, [self._platform]))
        children = {child.digest for child in document.children}
        for child_bytes, child_platforms in versions.of_digests(
            transaction, repository_id, children
        ):
            size_bytes += child_bytes
            platforms.update(filter(None, child_platforms.split(",")))
        kind = document.artifact_type
        return NewVersion(
            digest=pushed.digest,
            artifact_type=None if kind is None or normalised(kind) in IMAGE_CONFIGS else kind,
            platforms=sorted(platforms),
            description=self._said.text,
            licences=self._said.licences,
            size_bytes=size_bytes,
            warnings=self._said.warnings,
        )

    def _changes(
        self, transaction: Transaction, package_id: int, package: Published, *, is_first: bool
    ) -> dict[str, object]:
        """Return what the package takes over, which stays as it is where nothing is said."""
        said = self._said
        changes: dict[str, object] = {}
        if said.text is not None:
            changes["description"] = said.text
        if said.licences is not None:
            changes["licences"] = said.licences
        if said.source is not None:
            changes["source_url"] = said.source.url
            changes |= self._link(transaction, package_id, package, is_first=is_first)
        return changes

    def _link(
        self, transaction: Transaction, package_id: int, package: Published, *, is_first: bool
    ) -> dict[str, object]:
        """Return the link that the image's label makes, if any; the first publish makes more."""
        label = self._said.source
        if label is None or package.source_id is not None:
            return {}
        subject = self._access.subject
        standing = asked_within(
            transaction, lambda callers: callers.facts(subject, self._repository)
        )
        push = Push(
            subject,
            is_admin=role_of(subject, standing) is Role.ADMIN,
            is_first=is_first and package.created_by == subject.account_id,
            hosts=self._source_hosts,
        )
        self.linked = link_by_label(transaction, package_id, package, label, push)
        if self._base is not None:
            self.linked = self.linked.came_with(str(self._base))
        if self.linked.source_id is None:
            return {}
        return {"source_id": self.linked.source_id, "inherits": self.linked.inherits}


def _check_tags(
    transaction: Transaction, repository_id: int, pushed: Pushed, tags: Sequence[Tag]
) -> None:
    for tag, digest in contents.tagged(transaction, repository_id, tags):
        if digest != pushed.digest:
            raise TagImmutable(tag)
