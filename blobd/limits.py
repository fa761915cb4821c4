"""Limits: on uploads, on bytes in flight, on sizes and on times.

The limits are those of the daemon: all its workers share one account of each (`quota.py`).

Budget invariants
    (1) The bytes leased at any instant never exceed the budget, buffers in the pools included,
        over all workers.
    (2) Leases are granted in the order of asking, in a worker and among those that wait. A request
        for little never waits behind a holder that asks for more, because holders do not wait: a
        holder is granted what is free at once, or the smallest size, and never waits while another
        of its leases can only be returned by itself.
    (3) Every lease is returned within the time its bytes need to be hashed and written, however
        slow its client: a lease is taken only when bytes have arrived. What a worker has in its
        pool is given back as soon as another one waits.
    So some upload always finishes.

Fairness between accounts (the invariants of `fairness.py`)
    (4) Places: an account is given one more only within its share, so that there is always one for
        an account that holds none, unless there are as many busy accounts as places.
    (5) Buffers: a lease is short (3), so an account may use the whole budget while it is alone.
        While others lease too, one beyond its share gets the smallest buffers.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import AccountBusy, BlobTooLarge, BudgetExhausted, TooManyUploads
from blobd.fairness import Tally, may_take
from blobd.quota import Account, Quota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.config import Config
    from blobd.fairness import Holding
    from blobd.metrics import Metrics
    from blobd.quota import Share

_EVERYBODY = "*"
"""No account's name: what all of them lease."""
_TRY_AGAIN_S = 0.001
_TRIES = 5_000
"""More are needed only where a worker was stopped between two of its instructions."""

SIZES_BYTES = (64 * 1024, 512 * 1024, 4 * 1024 * 1024)
"""A buffer's usual sizes. Handing 4 MiB to two threads costs what it must; handing 1 MiB four
times costs a third more CPU per byte (`bench/README.md`)."""
SIZES_TO_PARTS_BYTES = (64 * 1024, 512 * 1024, 2 * 1024 * 1024)
"""Those of a buffer that is copied into a part, and lies in memory beside it."""


class Lease:
    """A buffer out of the budget. Its holder calls `release` once the bytes are used."""

    __slots__ = ("_budget", "_holding", "_memory", "view")

    def __init__(self, budget: Budget, memory: mmap.mmap, holding: Holding | None) -> None:
        self._budget = budget
        self._holding = holding
        self._memory: mmap.mmap | None = memory
        self.view = memoryview(memory)

    def release(self) -> None:
        """Return the buffer; `view` and slices of it must not be used after that. Idempotent."""
        memory, self._memory = self._memory, None
        if memory is not None:
            self._budget._return(memory, self._holding)


class Budget:
    """Bytes in flight, as pooled buffers. For one event loop."""

    def __init__(
        self,
        share: Share,
        *,
        wait_s: float,
        metrics: Metrics,
        sizes_bytes: tuple[int, ...] = SIZES_BYTES,
        tally: Tally | None = None,
        account_share: float = 1,
    ) -> None:
        """`tally` is what each account leases, over all workers; None: of no account."""
        self.sizes_bytes = sizes_bytes
        """What a buffer may have, ascending."""
        self._max_bytes = share.limit
        self._wait_s = wait_s
        self._metrics = metrics
        self._worker = share.worker
        self._tally = tally or Tally()
        self._share_bytes = account_share * share.limit
        self._everybody = self.holding(_EVERYBODY)
        self._quota = Quota(share, least=sizes_bytes[0], wait_s=wait_s, shrink=self._shrink_pool)
        self._pooled_bytes = 0
        self._pool: defaultdict[int, list[mmap.mmap]] = defaultdict(list)
        if share.worker == 0:
            metrics.in_flight_budget_bytes.set(share.limit)

    @property
    def leased_bytes(self) -> int:
        """The bytes in use at this moment, in this worker."""
        return self._quota.used

    def holding(self, account: str) -> Holding:
        """Return what an account leases, for `take`."""
        return self._tally.holding(account, self._worker)

    async def take(self, wanted_bytes: int, holding: Holding | None = None) -> Lease:
        """Return a buffer of `wanted_bytes`, or of a smaller size where less is free.

        `holding` is what the account leases that asks. Waits for the smallest size. Raises
        BudgetExhausted after the configured wait. If cancelled, nothing is leased.
        """
        sizes = [size for size in self.sizes_bytes if size <= wanted_bytes]
        if holding is not None and self._is_greedy(holding, wanted_bytes):
            sizes = []
        try:
            size_bytes = await self._quota.use(sizes or self.sizes_bytes[:1])
        except TimeoutError:
            raise BudgetExhausted(self._max_bytes, self._wait_s) from None
        for counted in self._counted(holding):
            counted.add(size_bytes)
        return Lease(self, self._memory(size_bytes), holding)

    def _is_greedy(self, holding: Holding, wanted_bytes: int) -> bool:
        held_bytes = holding.amount
        if held_bytes + wanted_bytes <= self._share_bytes:
            return False
        return self._everybody.amount > held_bytes

    def _counted(self, holding: Holding | None) -> tuple[Holding, ...]:
        return (self._everybody,) if holding is None else (self._everybody, holding)

    def _memory(self, size_bytes: int) -> mmap.mmap:
        self._metrics.in_flight_bytes.set(self._quota.used)
        pool = self._pool[size_bytes]
        if pool:
            self._pooled_bytes -= size_bytes
            return pool.pop()
        self._quota.reserve(self._pooled_bytes)  # a buffer of another size would be missed soon
        self._shrink_pool(self._quota.idle)
        return mmap.mmap(-1, size_bytes)

    def _shrink_pool(self, most_bytes: int) -> None:
        """Drop idle buffers, so that pool and leases together stay within what is held."""
        for pool in self._pool.values():
            while pool and self._pooled_bytes > most_bytes:
                self._pooled_bytes -= len(pool.pop())

    def _return(self, memory: mmap.mmap, holding: Holding | None) -> None:
        for counted in self._counted(holding):
            counted.add(-len(memory))
        self._pool[len(memory)].append(memory)
        self._pooled_bytes += len(memory)
        self._quota.release(len(memory))
        self._metrics.in_flight_bytes.set(self._quota.used)


class Admission:
    """How many uploads receive at one time."""

    def __init__(
        self,
        share: Share,
        metrics: Metrics,
        *,
        tally: Tally | None = None,
        account_share: float = 1,
    ) -> None:
        """`tally` is how many each account has, over all workers; None: of no account."""
        self._share = share
        self._metrics = metrics
        self._tally = tally or Tally()
        self._account_share = account_share

    @asynccontextmanager
    async def admit(self, account: str | None = None) -> AsyncIterator[None]:
        """Count one upload of an account in while the block runs.

        `account` None: a caller that acts for many. Raises TooManyUploads, AccountBusy. If
        cancelled before the block runs, nothing is counted.
        """
        holding = None
        if account is not None:
            holding = self._tally.holding(account, self._share.worker)
            self._check(holding.amount)
        admitted = self._share.take(1)
        for _ in range(_TRIES):
            if admitted is not None:
                break
            await asyncio.sleep(_TRY_AGAIN_S)
            admitted = self._share.take(1)
        if not admitted:
            raise TooManyUploads(self._share.limit)
        if holding is not None:
            holding.add(1)
        self._metrics.uploads_in_flight.set(self._share.held)
        try:
            yield
        finally:
            self._share.give(1)
            if holding is not None:
                holding.add(-1)
            self._metrics.uploads_in_flight.set(self._share.held)

    def _check(self, held: int) -> None:
        free = self._share.free
        if free and not may_take(1, held=held, free=free, share=self._account_share):
            raise AccountBusy("uploads", held, self._share.limit)


@dataclass(frozen=True, slots=True)
class Shares:
    """One worker's hands on the daemon's limits."""

    uploads: Share
    """`limits.max_uploads`."""
    buffers: Share
    """What of `limits.bytes_in_flight_max_bytes` is for what is received."""
    parts: Share
    """What of it is for parts on their way to S3."""
    uploads_of: Tally
    """How many of the uploads each account has."""
    bytes_of: Tally
    """How many bytes of the buffers each account leases."""
    parts_of: Tally
    """How many bytes each account holds of what is for parts."""
    open_uploads_of: Tally
    """How many uploads each account has open; they outlive the worker that opened them."""


class Accounts:
    """The daemon's limits. Made before its workers are forked."""

    def __init__(self, config: Config, workers: int = 1) -> None:
        limits = config.limits
        self._uploads = Account(limits.max_uploads, workers)
        self._buffers = Account(limits.bytes_in_flight_max_bytes - config.parts_max_bytes, workers)
        self._parts = Account(config.parts_max_bytes, workers)
        self._uploads_of, self._bytes_of = Tally(workers), Tally(workers)
        self._parts_of = Tally(workers)
        self._open_uploads_of = Tally(workers)

    def shares(self, worker: int = 0) -> Shares:
        """Return one worker's hands on all of them."""
        return Shares(
            self._uploads.share(worker),
            self._buffers.share(worker),
            self._parts.share(worker),
            self._uploads_of,
            self._bytes_of,
            self._parts_of,
            self._open_uploads_of,
        )

    def retire(self, worker: int) -> None:
        """Free what a worker held that has ended."""
        for account in (self._uploads, self._buffers, self._parts):
            account.retire(worker)
        for tally in (self._uploads_of, self._bytes_of, self._parts_of):
            tally.retire(worker)


def check_size(size_bytes: int, *, limit_bytes: int) -> None:
    """Raise BlobTooLarge when a blob of this size, announced or reached, is over the limit."""
    if size_bytes > limit_bytes:
        raise BlobTooLarge(limit_bytes=limit_bytes, size_bytes=size_bytes)
