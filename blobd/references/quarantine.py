"""Quarantine: a blob whose bytes are missing or wrong is not served until it is pushed again.

What is atomic
    One transaction takes the digest's row, looks at the stored bytes once more, has them kept aside
    (B11) and sets `damaged_at`. While it has the row nobody pins the digest, so no commit can be
    replacing the bytes that it looks at. Where a pin is there already, only `damaged_at` is set:
    the commit that the pin announces replaces the bytes, and ends the quarantine in the transaction
    that makes its hold.
What holds meanwhile
    Links, manifests and tags stay, and so do the bytes for as long as anybody holds the digest.
    HEAD, GET, mounts and manifests that name it say that the blob is missing, to those who can
    see it, in every worker and replica; so the next push sends it.
What a crash leaves
    Before the commit of the transaction: bytes kept aside and no `damaged_at`. The next request
    finds them missing, and sets it. After it: all.
What is seen without reading bytes
    Their length, where looking costs no request to another machine (`Backend.glance`). In a bucket
    damage shows when a blob is read, and to `scrub` and `fsck`.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from blobd.backends.base import FileSource
from blobd.errors import BlobCorrupt, BlobNotFound
from blobd.references import integrity
from blobd.references.holds import may_be_deleting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine

    from blobd.backends.base import Buffer, Source
    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest, Span
    from blobd.metrics import Metrics
    from blobd.store import BlobStore

_log = logging.getLogger("blobd.quarantine")


class Damage(StrEnum):
    """What is wrong with stored bytes."""

    MISSING = "missing"
    SIZE = "size"
    CONTENT = "content"


class Quarantine:
    """Looks at stored bytes before anything is said of them, and quarantines what is damaged."""

    def __init__(self, catalog: Catalog, store: BlobStore, metrics: Metrics) -> None:
        self._catalog = catalog
        self._store = store
        self._metrics = metrics

    async def open(self, digest: Digest) -> Source:
        """Open a blob that has the size the catalog knows; the caller closes the source.

        Bytes that nobody ever held have no size to compare with. Raises BlobNotFound.
        """
        for _ in range(2):
            known = await integrity.read_blob(self._catalog.reader, digest)
            if known is not None and known.damaged_at is not None:
                break
            size_bytes = None if known is None else known.size_bytes
            source = await self._try_to_open(digest)
            if source is not None:
                if known is None or size_bytes is None:
                    return source
                if source.size_bytes == size_bytes:
                    return self._watched(digest, known.verified_at, source)
                await source.aclose()
            if size_bytes is None or await self.inspect(digest) is not None:
                break
            # Another commit of the digest came in between.
        raise BlobNotFound(digest)

    def _watched(self, digest: Digest, verified_at: float, source: Source) -> Source:
        """Return a source that quarantines the blob where reading it finds it damaged."""
        if isinstance(source, FileSource):
            return source
        read = source.read

        async def watched(span: Span) -> AsyncGenerator[Buffer]:
            try:
                async with aclosing(read(span)) as pieces:
                    async for piece in pieces:
                        yield piece
            except BlobCorrupt:
                await self.put_aside(digest, Damage.MISSING, verified_at=verified_at)
                raise

        source.read = watched
        return source

    async def _try_to_open(self, digest: Digest) -> Source | None:
        try:
            return await self._store.open(digest)
        except BlobNotFound:
            return None

    async def stat(self, digest: Digest) -> int:
        """Return the size in bytes of a blob. Raises BlobNotFound."""
        known = await integrity.read_blob(self._catalog.reader, digest)
        if known is not None and known.damaged_at is not None:
            raise BlobNotFound(digest)
        if known is None or known.size_bytes is None:
            return await self._store.stat(digest)
        if not await self.is_whole(digest, known.size_bytes):
            raise BlobNotFound(digest)
        return known.size_bytes

    async def is_whole(self, digest: Digest, size_bytes: int) -> bool:
        """Return whether the bytes of a blob have this length, as far as that is cheap to know."""
        found = await self._store.glance((digest,))
        if found is None or found[0] == size_bytes:
            return True
        return await self.inspect(digest) is None

    async def look(self, digests: Collection[Digest]) -> None:
        """Quarantine those of some blobs that are damaged, as far as that is cheap to know."""
        ordered = sorted(digests)
        found = await self._store.glance(ordered)
        if found is None or not ordered:
            return
        known = await self._catalog.read(partial(integrity.sizes, digests=ordered))
        for digest, size_bytes in zip(ordered, found, strict=True):
            if digest in known and known[digest] != size_bytes:
                await self.inspect(digest)

    async def inspect(self, digest: Digest) -> Damage | None:
        """Compare a blob's length with the catalog, and quarantine it where they differ.

        None where they agree, or nothing is known of the digest.
        """
        return await self._compare(digest, self._store.stat, put_aside=True)

    async def measure(self, digest: Digest, *, put_aside: bool) -> Damage | None:
        """Compare the bytes that are there with the catalog, and quarantine them if wanted.

        None where they agree, nothing is known of the digest, or its bytes are being removed.
        """
        return await self._compare(digest, self._store.backend.measure, put_aside=put_aside)

    async def _compare(
        self,
        digest: Digest,
        size_of: Callable[[Digest], Coroutine[Any, Any, int]],
        *,
        put_aside: bool,
    ) -> Damage | None:
        async def compare(size_bytes: int) -> Damage | None:
            try:
                found_bytes = await size_of(digest)
            except BlobNotFound:
                return Damage.MISSING
            return None if found_bytes == size_bytes else Damage.SIZE

        def inspect(transaction: Transaction) -> tuple[Damage | None, bool]:
            row = integrity.take(transaction, digest)
            if row is None or may_be_deleting(row.condemned_at, now=self._catalog.now()):
                return None, False
            damage = transaction.wait(partial(compare, row.size_bytes))
            if damage is None or not put_aside:
                return damage, False
            return damage, self._keep_aside(transaction, digest, row)

        return self._report(digest, await self._catalog.write(inspect, alone=True))

    async def put_aside(self, digest: Digest, damage: Damage, *, verified_at: float) -> bool:
        """Quarantine a blob that was read and found damaged; return whether that was done.

        Not where it was committed again since it had this `verified_at`.
        """

        def put_aside(transaction: Transaction) -> tuple[Damage | None, bool]:
            row = integrity.take(transaction, digest)
            if row is None or row.verified_at != verified_at:
                return None, False
            return damage, self._keep_aside(transaction, digest, row)

        outcome = await self._catalog.write(put_aside, alone=True)
        return self._report(digest, outcome) is not None

    def _keep_aside(self, transaction: Transaction, digest: Digest, row: integrity.Row) -> bool:
        """Return whether it is news."""
        if not row.pinned:
            transaction.wait(partial(self._store.backend.quarantine, digest))
        integrity.set_damaged(transaction, digest, now=self._catalog.now())
        return row.damaged_at is None

    def _report(self, digest: Digest, outcome: tuple[Damage | None, bool]) -> Damage | None:
        damage, is_news = outcome
        if damage is not None and is_news:
            self._metrics.quarantined_blobs.labels(damage.value).inc()
            _log.error(
                "blob quarantined; it is whole again once any client pushes it",
                extra={"digest": str(digest), "reason": damage.value},
            )
        return damage
