"""BlobStore: the one concrete class over a backend. Verification, dedup and holds meet here.

A blob lives while it is held: by the blob API, or by a repository of the registry. Committing goes
in an order that no crash and no garbage collection can break (promise 11): pin the digest, publish
the bytes, then in one act turn the pin into the hold.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from blobd.backends.base import FileSource
from blobd.digest import Span
from blobd.errors import BlobNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from blobd.backends.base import Backend, BlobInfo, Committed, Source, Staging
    from blobd.digest import Digest
    from blobd.metrics import Metrics
    from blobd.threads import Threads


class Pin(Protocol):
    """A digest that garbage collection leaves alone while it is being published."""

    async def keep(self, size_bytes: int) -> None:
        """Turn the pin into a hold, atomically and durably."""
        ...


class BlobHolder(Protocol):
    """One holder of blobs."""

    def pin(self, digest: Digest) -> AbstractAsyncContextManager[Pin]:
        """Keep garbage collection off a digest until the hold is made or the block is left."""
        ...

    async def release(self, digest: Digest) -> None:
        """End this holder's hold. Raises BlobNotFound when it has none."""
        ...


class BlobStore:
    """Blobs by digest, over one backend."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self.backend = backend
        self._metrics = metrics

    async def stat(self, digest: Digest) -> int:
        """Return a blob's size in bytes. Raises BlobNotFound."""
        if not digest.supported:
            raise BlobNotFound(digest)
        return await self.backend.stat(digest)

    async def glance(self, digests: Sequence[Digest]) -> Sequence[int | None] | None:
        """Return stored sizes in bytes, None for what is not there; None where that is not cheap.

        Raises BackendUnavailable.
        """
        supported = [digest for digest in digests if digest.supported]
        found = await self.backend.glance(supported)
        if found is None or len(supported) == len(digests):
            return found
        sizes_bytes = dict(zip(supported, found, strict=True))
        return [sizes_bytes.get(digest) for digest in digests]

    async def read_small(
        self, digest: Digest, *, limit_bytes: int, threads: Threads
    ) -> bytes | None:
        """Return a blob that is to be held in memory; None where it is larger than the limit.

        Raises BlobNotFound.
        """
        source = await self.open(digest)
        try:
            if source.size_bytes > limit_bytes:
                return None
            if isinstance(source, FileSource):
                return await threads.run(os.pread, source.fd, source.size_bytes, 0)
            pieces = [bytes(piece) async for piece in source.read(Span(0, source.size_bytes))]
            return b"".join(pieces)
        finally:
            await source.aclose()

    async def open(self, digest: Digest) -> Source:
        """Open a blob; the caller closes the source. Raises BlobNotFound."""
        if not digest.supported:
            raise BlobNotFound(digest)
        return await self.backend.open(digest)

    async def commit(self, staging: Staging, digest: Digest, holder: BlobHolder) -> Committed:
        """Publish a staging whose bytes were verified to hash to `digest`, and hold it.

        Raises what `Staging.commit` raises, and what the holder raises; then the blob is not
        held by this holder, and bytes that were published meanwhile are garbage to collect.
        If cancelled: held, or not.
        """
        async with holder.pin(digest) as pin:
            with self._metrics.commit_duration.time():
                committed = await staging.commit(digest)
            await pin.keep(committed.size_bytes)
        if committed.replaced:
            self._metrics.dedup_hits.inc()
            self._metrics.dedup_saved_bytes.inc(committed.size_bytes)
        return committed

    async def delete(self, digest: Digest) -> int:
        """Remove a blob's bytes, whatever holds it; return the bytes freed. Raises BlobNotFound."""
        freed_bytes = await self.backend.delete(digest)
        self._metrics.deleted_bytes.inc(freed_bytes)
        return freed_bytes

    def blobs(self, *, after: Digest | None = None) -> AsyncIterator[BlobInfo]:
        """Yield blobs in digest order, strictly after `after`."""
        return self.backend.blobs(after=after)
