"""What a push of a manifest makes of its package: a version, a description, a link.

Everything is written in the push's own transaction. What an image says wrongly of itself never
makes its push fail: the pusher is warned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import BlobNotFound, TagImmutable
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog import contents, packages, sources, trash, versions
from blobd.registry.catalog.versions import NewVersion
from blobd.registry.labels import (
    Description,
    describe,
    labels_of_config,
    platform_of_config,
)
from blobd.registry.media_types import IMAGE_CONFIGS, IMAGES, normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.backends.threads import Threads
    from blobd.digest import Digest
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog import Catalog, Transaction
    from blobd.registry.catalog.packages import Published
    from blobd.registry.documents import Document
    from blobd.registry.manifests import Pushed
    from blobd.registry.names import RepositoryName, Tag
    from blobd.store import BlobStore

_CONFIG_MAX_BYTES = 4 * 1024 * 1024


class PackagePublication:
    """One push into a package; a `blobd.registry.manifests.Publication`."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        threads: Threads,
        repository: RepositoryName,
        subject: Subject,
    ) -> None:
        self._catalog = catalog
        self._repository = repository
        self._store = store
        self._threads = threads
        self._subject = subject
        self._now = catalog.now()
        self._said = Description()
        self._platform: str | None = None

    @property
    def warnings(self) -> Sequence[str]:
        """What of the image's own words was not taken over, and why."""
        return self._said.warnings

    async def read(self, document: Document) -> None:
        """Read what an image says of itself: labels of its configuration, or annotations."""
        labels = dict(document.annotations)
        if document.media_type in IMAGES:
            config = document.blobs[0]
            if normalised(config.media_type) in IMAGE_CONFIGS:
                content = await self._content(config.digest)
                labels |= labels_of_config(content)
                self._platform = platform_of_config(content)
        self._said = describe(labels)

    async def _content(self, digest: Digest) -> bytes:
        """Return a configuration; nothing where it is too large, or not for this repository."""
        if await self._catalog.hot.link(self._repository, digest) is None:
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
                changes = self._changes(transaction, package, is_first=is_first)
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
        )

    def _changes(
        self, transaction: Transaction, package: Published, *, is_first: bool
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
            if package.source_id is None:
                changes |= self._link(transaction, is_first=is_first)
        return changes

    def _link(self, transaction: Transaction, *, is_first: bool) -> dict[str, object]:
        """Return the link to a source repository that is known here, and to the pusher too.

        At the first publish its roles and its visibility are inherited; a later link changes
        nothing of who may do what.
        """
        said = self._said.source
        if said is None:
            return {}
        source = sources.find_source(transaction, said.owner, said.name)
        if source is None or not self._sees(transaction, source):
            return {}
        return {"source_id": source.source_id, "inherits": is_first}

    def _sees(self, transaction: Transaction, source: sources.Source) -> bool:
        if self._subject.is_administrator or source.visibility != Visibility.PRIVATE:
            return True
        person = self._subject.person_id
        if person is None:
            workflow = self._subject.workflow
            return workflow is not None and workflow.source_id == source.source_id
        return sources.role_of_person(transaction, source.source_id, person) > Role.NONE


def _check_tags(
    transaction: Transaction, repository_id: int, pushed: Pushed, tags: Sequence[Tag]
) -> None:
    for tag, digest in contents.tagged(transaction, repository_id, tags):
        if digest != pushed.digest:
            raise TagImmutable(tag)
