"""Garbage collection: removing blobs that nobody holds any more (promise 11).

It starts from holds that ended or lapsed, never from a listing of the store, so a blob that it
has never heard of is safe from it. Lapsed holds end first, for good; then the bytes are removed
while nobody can get hold of them, in whatever process. So a crash leaves no hold without bytes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from blobd.errors import BlobNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from blobd.digest import Digest
    from blobd.metrics import Metrics
    from blobd.store import BlobStore


class Hold(Protocol):
    """A reason for a blob to live."""

    @property
    def reason(self) -> str:
        """In words."""
        ...

    @property
    def lapsed(self) -> bool:
        """Whether it has run out, and counts no more."""
        ...


class Standing(Protocol):
    """How it stands with one digest."""

    @property
    def size_bytes(self) -> int | None:
        """The blob's size, where it is known."""
        ...

    @property
    def holds(self) -> Sequence[Hold]:
        """All holds, lapsed ones included."""
        ...

    @property
    def held(self) -> bool:
        """Whether any hold counts still."""
        ...


class Roots(Protocol):
    """Who knows why blobs live."""

    def candidates(self) -> AsyncIterator[Digest]:
        """Yield the digests of which a hold has ended or lapsed."""
        ...

    async def look(self, digest: Digest) -> Standing:
        """Return how it stands with a digest, changing nothing."""
        ...

    async def settle(self, digest: Digest) -> Standing | None:
        """End a digest's lapsed holds, durably; return how it stood with it before.

        None when it was forgotten since it was yielded.
        """
        ...

    async def forget(self, digest: Digest, remove: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Have a digest's bytes removed and forget it, unless somebody holds it; return whether.

        Nobody can get hold of it meanwhile. If `remove` raises, all is as before.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why one blob stays or goes."""

    digest: Digest
    size_bytes: int
    """0 where the store has no such bytes."""
    goes: bool
    reasons: tuple[str, ...]


async def collect(
    roots: Roots, store: BlobStore, metrics: Metrics, *, dry_run: bool
) -> AsyncIterator[Verdict]:
    """Yield a verdict for each candidate, having carried it out unless it is a dry run.

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
        verdict = await _judge(roots, store, digest)
        worked_s = loop.time() - started
        if verdict is not None:
            if verdict.goes:
                metrics.collected_blobs.inc()
                metrics.collected_bytes.inc(verdict.size_bytes)
            yield verdict
        await asyncio.sleep(worked_s)


async def explain(roots: Roots, store: BlobStore) -> AsyncIterator[Verdict]:
    """Yield what `collect` would say of every stored blob, candidate or not; change nothing.

    Asks the roots about each blob. Raises what store and roots raise.
    """
    candidates = {digest async for digest in roots.candidates()}
    async for blob in store.blobs():
        verdict = _verdict(blob.digest, blob.size_bytes, await roots.look(blob.digest))
        if verdict.goes and blob.digest not in candidates:
            why = "nobody is known to hold it, but no hold of it has ended either"
            verdict = Verdict(blob.digest, blob.size_bytes, goes=False, reasons=(why,))
        yield verdict


async def _foresee(roots: Roots, store: BlobStore, digest: Digest) -> Verdict:
    standing = await roots.look(digest)
    try:
        size_bytes = await store.stat(digest)
    except BlobNotFound:
        size_bytes = 0
    return _verdict(digest, size_bytes, standing)


async def _judge(roots: Roots, store: BlobStore, digest: Digest) -> Verdict | None:
    """Return what was done; None where others were faster, to forget it or to hold it again."""
    standing = await roots.settle(digest)
    if standing is None:
        return None
    if standing.held:
        return _verdict(digest, standing.size_bytes or 0, standing)
    freed_bytes = 0

    async def remove() -> None:
        nonlocal freed_bytes
        with suppress(BlobNotFound):
            freed_bytes = await store.delete(digest)

    if not await roots.forget(digest, remove):
        return None
    return _verdict(digest, freed_bytes, standing)


def _verdict(digest: Digest, size_bytes: int, standing: Standing) -> Verdict:
    if standing.held:
        living = tuple(hold.reason for hold in standing.holds if not hold.lapsed)
        return Verdict(digest, size_bytes, goes=False, reasons=living)
    lapsed = tuple(hold.reason for hold in standing.holds)
    return Verdict(digest, size_bytes, goes=True, reasons=lapsed or ("nobody holds it any more",))
