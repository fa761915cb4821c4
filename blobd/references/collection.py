"""Garbage collection: removing blobs that nothing holds (promise 11).

It starts from holds that ended or lapsed, never from a listing of the store, so a blob that it
has never heard of is safe from it. Lapsed holds end first, for good; then the bytes are removed
while nobody can get hold of them, in whatever process. So a crash leaves no hold without bytes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import BlobNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.digest import Digest
    from blobd.metrics import Metrics
    from blobd.references.references import HoldStatus
    from blobd.references.roots import Roots
    from blobd.store import BlobStore


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """Why one blob stays or goes."""

    digest: Digest
    size_bytes: int
    """0 where the store has no such bytes."""
    goes: bool
    reasons: tuple[str, ...]


async def collect(
    roots: Roots, store: BlobStore, metrics: Metrics, *, dry_run: bool
) -> AsyncIterator[CollectionResult]:
    """Yield a result for each candidate, having carried it out unless it is a dry run.

    May run beside anything, itself included, in any number of processes. Between two blobs it
    rests as long as it worked, so that others find the catalog free. Raises what store and roots
    raise; what was yielded is done then. If cancelled: the same.
    """
    loop = asyncio.get_running_loop()
    async for digest in roots.candidates():
        if dry_run:
            yield await _foresee(roots, store, digest)
            continue
        started = loop.time()
        result = await _collect(roots, store, digest)
        worked_s = loop.time() - started
        if result is not None:
            if result.goes:
                metrics.collected_blobs.inc()
                metrics.collected_bytes.inc(result.size_bytes)
            yield result
        await asyncio.sleep(worked_s)


async def explain(roots: Roots, store: BlobStore) -> AsyncIterator[CollectionResult]:
    """Yield what `collect` would say of every stored blob, candidate or not; change nothing.

    Asks the roots about each blob. Raises what store and roots raise.
    """
    candidates = {digest async for digest in roots.candidates()}
    async for blob in store.blobs():
        result = _result(blob.digest, blob.size_bytes, await roots.inspect(blob.digest))
        if result.goes and blob.digest not in candidates:
            why = "no holder is known, but no hold of it has ended"
            result = CollectionResult(blob.digest, blob.size_bytes, goes=False, reasons=(why,))
        yield result


async def _foresee(roots: Roots, store: BlobStore, digest: Digest) -> CollectionResult:
    status = await roots.inspect(digest)
    try:
        size_bytes = await store.stat(digest)
    except BlobNotFound:
        size_bytes = 0
    return _result(digest, size_bytes, status)


async def _collect(roots: Roots, store: BlobStore, digest: Digest) -> CollectionResult | None:
    """Return what was done; None where others were faster, to delete it or to hold it again."""
    status = await roots.expire_holds(digest)
    if status is None:
        return None
    if status.held:
        return _result(digest, status.size_bytes or 0, status)
    freed_bytes = 0

    async def delete() -> None:
        nonlocal freed_bytes
        with suppress(BlobNotFound):
            freed_bytes = await store.delete(digest)

    if not await roots.delete_unheld(digest, delete):
        return None
    return _result(digest, freed_bytes, status)


def _result(digest: Digest, size_bytes: int, status: HoldStatus) -> CollectionResult:
    if status.held:
        living = tuple(hold.reason for hold in status.holds if not hold.lapsed)
        return CollectionResult(digest, size_bytes, goes=False, reasons=living)
    lapsed = tuple(hold.reason for hold in status.holds)
    reasons = lapsed or ("nothing holds it",)
    return CollectionResult(digest, size_bytes, goes=True, reasons=reasons)
