"""Upload sessions with all that they stand on, and nothing of HTTP."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blobd.backends.memory import Memory
from blobd.config import Config, Limits
from blobd.errors import BlobNotFound
from blobd.fairness import Tally
from blobd.hashing import Hashing
from blobd.limits import Admission, Budget
from blobd.metrics import Metrics
from blobd.open_uploads import OpenUploads
from blobd.quota import Account
from blobd.receive import Receiver
from blobd.room import Room
from blobd.store import BlobStore
from blobd.threads import Threads
from blobd.uploads import Uploads
from tests.backends.acts import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.backends.base import Backend
    from blobd.digest import Digest
    from blobd.store import Pin

OWNER = "somebody"


@dataclass
class Clock:
    """The wall clock, some time ahead."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Ledger:
    """A holder that writes down what happens to a digest, and refuses to keep when told so."""

    store: BlobStore
    events: list[str] = field(default_factory=list)
    held: dict[Digest, int] = field(default_factory=dict)
    refuses: Exception | None = None

    @asynccontextmanager
    async def pin(self, digest: Digest) -> AsyncIterator[Pin]:
        self.events.append("pinned over a blob" if await self._stored(digest) else "pinned")
        try:
            yield _Pin(self, digest)
        finally:
            self.events.append("unpinned")

    async def release(self, digest: Digest) -> None:
        del self.held[digest]

    async def _stored(self, digest: Digest) -> bool:
        try:
            await self.store.stat(digest)
        except BlobNotFound:
            return False
        return True


@dataclass
class _Pin:
    ledger: Ledger
    digest: Digest

    async def keep(self, size_bytes: int) -> None:
        if self.ledger.refuses is not None:
            raise self.ledger.refuses
        assert await self.ledger.store.stat(self.digest) == size_bytes
        self.ledger.events.append("held")
        self.ledger.held[self.digest] = size_bytes


@dataclass
class Hall:
    """Everything below HTTP, wired."""

    uploads: Uploads
    backend: Backend
    store: BlobStore
    holder: Ledger
    metrics: Metrics
    clock: Clock
    budget: Budget

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"blobd_{name}", labels) or 0


@asynccontextmanager
async def hall(
    backend: Backend | None = None,
    *,
    limits: Limits | None = None,
    hashing: Hashing | None = None,
    clock: Clock | None = None,
    budget_bytes: int = 64 * 1024 * 1024,
) -> AsyncIterator[Hall]:
    """Open a hall over a backend, which is closed with it."""
    backend = backend or Memory()
    config = Config(limits=limits or Limits(min_free_bytes=0))
    metrics, clock, threads = Metrics(), clock or Clock(), Threads(2, "blobd-hash")
    budget = Budget(
        Account(budget_bytes).share(), wait_s=config.limits.budget_wait_s, metrics=metrics
    )
    store = BlobStore(backend, metrics)
    uploads = Uploads(
        store=store,
        receiver=Receiver(budget, threads, metrics),
        hashing=hashing or Hashing(),
        admission=Admission(Account(config.limits.max_uploads).share(), metrics),
        open_uploads=OpenUploads(Tally(), 0, config.limits),
        room=Room(backend, metrics, min_free_bytes=config.limits.min_free_bytes, clock=clock),
        config=config,
        metrics=metrics,
        clock=clock,
    )
    try:
        yield Hall(uploads, backend, store, Ledger(store), metrics, clock, budget)
    finally:
        await backend.aclose()
        await off_loop(threads.close)
        assert budget.leased_bytes == 0
