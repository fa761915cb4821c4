"""Scrubbing: reading every stored blob that the catalog knows, and hashing it against its digest.

What was verified longest ago comes first; a commit counts, because its bytes were hashed on their
way. `blobs.verified_at` is all that is remembered, noted after each blob: a scrub that was stopped
goes on where it was, wherever it is started again, and a blob that was being read is read anew.

One scrub at a time over all processes and replicas: by a lease, which ends by itself after a crash.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blobd.backends.base import FileSource
from blobd.digest import Span
from blobd.errors import BlobCorrupt, BlobNotFound, Refused
from blobd.hashing import Hashing
from blobd.references import integrity
from blobd.references.quarantine import Damage
from blobd.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from blobd.backends.base import Buffer, Source
    from blobd.database import Catalog
    from blobd.digest import Digest
    from blobd.metrics import Metrics
    from blobd.references.integrity import Due
    from blobd.references.quarantine import Quarantine
    from blobd.store import BlobStore

_PAGE = 200
_PIECE_BYTES = 1024 * 1024
_LEASE_S = 600.0
_LEASE = "scrub"


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """One blob that was read."""

    digest: Digest
    read_bytes: int
    damage: Damage | None


class Scrub:
    """Reads blobs at a bounded rate. Memory does not depend on their sizes."""

    def __init__(
        self, catalog: Catalog, store: BlobStore, quarantine: Quarantine, metrics: Metrics
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._quarantine = quarantine
        self._metrics = metrics
        self._holder = secrets.token_hex(16)

    async def run(self, *, older_than_s: float, bytes_per_s: float) -> AsyncGenerator[Scrubbed]:
        """Verify what was last verified before that; yield each blob after it was dealt with.

        `bytes_per_s` may be infinite. Raises Refused while another process scrubs, and what store
        and catalog raise. If cancelled or left: what was yielded is done.
        """
        before = self._catalog.now() - older_than_s
        after = None
        threads = Threads(1, "blobd-scrub")
        try:
            while page := await self._catalog.read(
                partial(integrity.due, before=before, after=after, limit=_PAGE)
            ):
                for due in page:
                    if not await self._hold_lease(due.size_bytes / bytes_per_s):
                        raise Refused("another process scrubs this store already")
                    scrubbed = await self._verify(due, threads, bytes_per_s)
                    if scrubbed is not None:
                        yield scrubbed
                after = page[-1]
        finally:
            threads.close()
            await self._end_lease()

    async def oldest(self) -> float:
        """Return how many seconds ago the blob was verified that waits longest for it again.

        Infinite where one never was; 0 where there are no blobs.
        """
        verified_at = await self._catalog.read(integrity.oldest_verified)
        if verified_at is None:
            return 0.0
        return self._catalog.now() - verified_at if verified_at else math.inf

    async def _verify(self, due: Due, threads: Threads, bytes_per_s: float) -> Scrubbed | None:
        """Return what was found; None where the blob has gone or come anew meanwhile."""
        try:
            source = await self._store.open(due.digest)
        except BlobNotFound:
            damage = await self._quarantine.inspect(due.digest)
            return None if damage is None else Scrubbed(due.digest, 0, damage)
        read_bytes = 0
        hasher = Hashing(saved_states=False).new(due.digest.algorithm)
        try:
            started = asyncio.get_running_loop().time()
            async with aclosing(_pieces(source, threads)) as pieces:
                async for piece in pieces:
                    await threads.run(hasher.update, piece)
                    read_bytes += len(piece)
                    self._metrics.scrubbed_bytes.inc(len(piece))
                    ahead_s = read_bytes / bytes_per_s - (
                        asyncio.get_running_loop().time() - started
                    )
                    if ahead_s > 0:
                        await asyncio.sleep(ahead_s)
        except BlobCorrupt:
            damage = Damage.MISSING
        else:
            if read_bytes != due.size_bytes:
                damage = Damage.SIZE
            else:
                damage = None if hasher.digest() == due.digest else Damage.CONTENT
        finally:
            await source.aclose()
        if damage is None:
            now = self._catalog.now()
            await self._catalog.write(partial(integrity.set_verified, due=due, now=now))
            return Scrubbed(due.digest, read_bytes, None)
        done = await self._quarantine.put_aside(due.digest, damage, verified_at=due.verified_at)
        return Scrubbed(due.digest, read_bytes, damage) if done else None

    async def _hold_lease(self, reading_s: float) -> bool:
        now = self._catalog.now()
        take = partial(
            integrity.take_lease,
            name=_LEASE,
            holder=self._holder,
            now=now,
            expires_at=now + _LEASE_S + 2 * reading_s,
        )
        return await self._catalog.write(take, synced=False)

    async def _end_lease(self) -> None:
        end = partial(integrity.end_lease, name=_LEASE, holder=self._holder)
        await self._catalog.write(end, synced=False)


async def _pieces(source: Source, threads: Threads) -> AsyncGenerator[Buffer]:
    if isinstance(source, FileSource):
        position = 0
        while data := await threads.run(os.pread, source.fd, _PIECE_BYTES, position):
            position += len(data)
            yield data
        return
    async with aclosing(source.read(Span(0, source.size_bytes))) as pieces:
        async for piece in pieces:
            yield piece
