"""Manifests: kept byte for byte under every digest they were pushed with (R15-R20, R42-R52)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blobd.digest import Digest
from blobd.errors import DigestMismatch
from blobd.hashing import Hashing
from blobd.registry.catalog import contents, repositories
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.documents import read_document
from blobd.registry.errors import (
    DescriptorSizeWrong,
    ManifestChildMissing,
    ManifestReferencesUnknown,
    ManifestUnknown,
    NameUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blobd.database import Catalog, Transaction
    from blobd.references.quarantine import Quarantine
    from blobd.registry.catalog.read_queries import StoredManifest
    from blobd.registry.catalog.repositories import Maker
    from blobd.registry.documents import Document
    from blobd.registry.names import Reference, RepositoryName, Tag
    from blobd.threads import Threads

_TAGGED_ALGORITHM = "sha256"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it was pushed."""

    digest: Digest
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a push of a manifest did."""

    digest: Digest
    subject: Digest | None
    tags: tuple[Tag, ...]
    """The tags that name it now, of those that were asked for."""
    warnings: tuple[str, ...]
    """What of the manifest departs from its specification and was taken all the same."""


class Publication(Protocol):
    """What else a push of a manifest does, in the same transaction."""

    async def read(self, document: Document) -> None:
        """Look at what has to be known before; not in the transaction."""
        ...

    def takes_sparse_indexes(self, transaction: Transaction, repository_id: int) -> bool:
        """Return whether indexes are taken here without the manifests that they list."""
        ...

    def write(
        self, transaction: Transaction, repository_id: int, pushed: Pushed, tags: Sequence[Tag]
    ) -> None:
        """Write beside the manifest, which is there; the tags name still what they did before."""
        ...


@dataclass(frozen=True, slots=True)
class Pushed:
    """A manifest that is being pushed."""

    digest: Digest
    size_bytes: int
    document: Document
    prevails: bool
    """Whether the manifest is known as this push says, and not as a better one said before."""


class Manifests:
    """The manifests of all repositories."""

    def __init__(
        self,
        catalog: Catalog,
        threads: Threads,
        *,
        quarantine: Quarantine | None = None,
        sparse_indexes: bool = False,
    ) -> None:
        """`threads` do what takes time with a large manifest: hashing and parsing.

        `quarantine` looks at the bytes of what manifests name; without it the catalog is believed.
        `sparse_indexes`: indexes are taken everywhere without the manifests that they list.
        """
        self._catalog = catalog
        self._hot = ReadQueries(catalog.reader)
        self._quarantine = quarantine
        self._sparse_indexes = sparse_indexes
        self._threads = threads
        self._hashing = Hashing(saved_states=False)

    async def find(self, repository: RepositoryName, reference: Reference) -> StoredManifest:
        """Return what is known of a manifest.

        Raises NameUnknown; ManifestUnknown, of which ManifestChildMissing is a kind.
        """
        hot = self._hot
        if isinstance(reference, Digest):
            found = await hot.manifest(repository, reference)
        else:
            found = await hot.tagged(repository, reference)
        if found is not None:
            return found
        if not await hot.knows(repository):
            raise NameUnknown(repository)
        if isinstance(reference, Digest):
            index = await hot.listed_by(repository, reference)
            if index is not None:
                raise ManifestChildMissing(str(reference), index=index)
        raise ManifestUnknown(str(reference))

    async def get(self, repository: RepositoryName, reference: Reference) -> Manifest:
        """Return a manifest. Raises ManifestUnknown, NameUnknown."""
        found = await self.find(repository, reference)
        content = found.content
        if content is None:
            content = await self._catalog.read(
                lambda transaction: contents.read_content(
                    transaction, _known(transaction, repository), found.digest
                )
            )
            if content is None:
                raise ManifestUnknown(str(reference))
        return Manifest(found.digest, found.media_type, content)

    async def put(
        self,
        repository: RepositoryName,
        reference: Reference,
        *,
        content: bytes,
        content_type: str | None,
        tags: Sequence[Tag] = (),
        make: Maker | None = None,
        publication: Publication | None = None,
    ) -> Accepted:
        """Store a manifest and point tags at it: all of that, or nothing.

        `make` makes the repository where there is none; without it, it is nobody's.

        Raises ManifestInvalid; DigestMismatch and DigestUnsupported when it was pushed under a
        digest; ManifestReferencesUnknown naming all that its repository does not have.
        """
        announced = reference if isinstance(reference, Digest) else None
        digest, document = await self._threads.run(self._examine, content, content_type, announced)
        if not isinstance(reference, Digest):
            tags = (reference, *tags)
        if self._quarantine is not None:
            await self._quarantine.look({named.digest for named in document.blobs})
        if publication is not None:
            await publication.read(document)
        manifest = _to_write(digest, content, document)
        now = self._catalog.now()
        make_here = make or repositories.maker(repository, now=now)

        def takes_sparse_indexes(transaction: Transaction, repository_id: int) -> bool:
            return self._sparse_indexes or (
                publication is not None
                and publication.takes_sparse_indexes(transaction, repository_id)
            )

        def write(transaction: Transaction) -> tuple[str, ...]:
            repository_id = make_here(transaction)
            absent = _check_references(transaction, repository_id, document)
            if absent and not takes_sparse_indexes(transaction, repository_id):
                raise ManifestReferencesUnknown(absent)
            prevails = contents.write_manifest(transaction, repository_id, manifest, now=now)
            if publication is not None:
                pushed = Pushed(digest, len(content), document, prevails)
                publication.write(transaction, repository_id, pushed, tags)
            contents.point_tags(transaction, repository_id, tags, digest, now=now)
            return () if not absent else (_sparse(absent),)

        warnings = await self._catalog.write(write)
        return Accepted(
            digest,
            document.subject,
            tuple(dict.fromkeys(tags)),
            warnings=document.warnings + warnings,
        )

    def _examine(
        self, content: bytes, content_type: str | None, announced: Digest | None
    ) -> tuple[Digest, Document]:
        algorithm = _TAGGED_ALGORITHM if announced is None else announced.algorithm
        hasher = self._hashing.new(algorithm)
        hasher.update(content)
        computed = hasher.digest()
        if announced is not None and announced != computed:
            raise DigestMismatch(announced, computed)
        return computed, read_document(content, content_type)


def _known(transaction: Transaction, repository: RepositoryName) -> int:
    repository_id = repositories.find_repository(transaction, repository)
    if repository_id is None:
        raise NameUnknown(repository)
    return repository_id


def _sparse(absent: Sequence[Digest]) -> str:
    if len(absent) == 1:
        return f"the index lists a manifest that is not here: {absent[0]}"
    return f"the index lists {len(absent)} manifests that are not here, such as {absent[0]}"


def _check_references(
    transaction: Transaction, repository_id: int, document: Document
) -> tuple[Digest, ...]:
    """Look for what a manifest names where its repository can see it (promise 10, R48).

    What an index lists is a manifest; where its media type leaves that open (build caches list
    layers), a blob will do. Whatever of it is here has the size that its descriptor gives.

    Returns what an index lists and is not here: an index without it is called sparse. Raises
    ManifestReferencesUnknown for blobs, DescriptorSizeWrong.
    """
    children = {named.digest for named in document.children}
    perhaps_blobs = {named.digest for named in document.children if not named.is_manifest}
    others = {named.digest for named in document.others}
    blobs = {named.digest for named in document.blobs}
    linked = contents.linked(transaction, repository_id, blobs | perhaps_blobs | others)
    there = contents.present(transaction, repository_id, children | others)
    _check_sizes(document, linked | there)
    missing = [
        named.digest for named in document.blobs if named.required and named.digest not in linked
    ]
    if missing:
        raise ManifestReferencesUnknown(tuple(dict.fromkeys(missing)))
    here = linked.keys() | there.keys()
    absent = [
        named.digest for named in document.children if named.required and named.digest not in here
    ]
    return tuple(dict.fromkeys(absent))


def _check_sizes(document: Document, sizes_bytes: Mapping[Digest, int | None]) -> None:
    for named in (*document.blobs, *document.children, *document.others):
        said_bytes, size_bytes = named.size_bytes, sizes_bytes.get(named.digest)
        if said_bytes is not None and size_bytes is not None and said_bytes != size_bytes:
            raise DescriptorSizeWrong(
                named.place, named.digest, said_bytes=said_bytes, size_bytes=size_bytes
            )


def _to_write(digest: Digest, content: bytes, document: Document) -> contents.NewManifest:
    annotations = None
    if document.annotations:
        annotations = json.dumps(document.annotations, ensure_ascii=False, separators=(",", ":"))
    return contents.NewManifest(
        digest=digest,
        media_type=document.media_type,
        content=content,
        subject=document.subject,
        artifact_type=document.artifact_type,
        annotations=annotations,
        references={
            named.digest for named in (*document.blobs, *document.children, *document.others)
        },
    )
