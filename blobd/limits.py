"""Who may start, how many bytes may be in flight, how large and how long.

Budget invariants
    (1) The bytes leased at any instant never exceed the budget.
    (2) Leases are granted in the order of asking; nobody who asks for little waits behind
        somebody who holds much and asks for more, because nobody may: a holder is granted what
        is free at once, or the smallest size, and never waits while another of its leases can
        only be returned by itself.
    (3) Every lease is returned within the time its bytes need to be hashed and written, however
        slow its client: a lease is taken only when bytes have arrived.
    So somebody always finishes.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import defaultdict, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blobd.errors import BlobTooLarge, BudgetExhausted, TooManyUploads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.metrics import Metrics

SIZES_BYTES = (64 * 1024, 512 * 1024, 4 * 1024 * 1024)
"""A buffer's usual sizes. Handing 4 MiB to two threads costs what it must; handing 1 MiB four
times costs a third more CPU per byte (`bench/README.md`)."""
SIZES_TO_PARTS_BYTES = (64 * 1024, 512 * 1024, 2 * 1024 * 1024)
"""Those of a buffer that is copied into a part, and lies in memory beside it."""


class Lease:
    """A buffer out of the budget. Whoever holds it calls `release` once the bytes are used."""

    __slots__ = ("_budget", "_memory", "view")

    def __init__(self, budget: Budget, memory: mmap.mmap) -> None:
        self._budget = budget
        self._memory: mmap.mmap | None = memory
        self.view = memoryview(memory)

    def release(self) -> None:
        """Return the buffer; `view` and slices of it must not be used any more. Idempotent."""
        memory, self._memory = self._memory, None
        if memory is not None:
            self._budget._return(memory)


class Budget:
    """Bytes in flight, as pooled buffers. For one event loop."""

    def __init__(
        self,
        max_bytes: int,
        *,
        wait_s: float,
        metrics: Metrics,
        sizes_bytes: tuple[int, ...] = SIZES_BYTES,
    ) -> None:
        self.sizes_bytes = sizes_bytes
        """What a buffer may have, ascending."""
        self._max_bytes = max_bytes
        self._wait_s = wait_s
        self._metrics = metrics
        self._leased_bytes = 0
        self._promised_bytes = 0
        self._pooled_bytes = 0
        self._pool: defaultdict[int, list[mmap.mmap]] = defaultdict(list)
        self._waiting: deque[asyncio.Future[None]] = deque()
        metrics.in_flight_budget_bytes.set(max_bytes)

    @property
    def leased_bytes(self) -> int:
        """The bytes in use at this moment."""
        return self._leased_bytes

    async def take(self, wanted_bytes: int) -> Lease:
        """Return a buffer of `wanted_bytes`, or of a smaller size where less is free.

        Waits for the smallest size. Raises BudgetExhausted after the configured wait. If
        cancelled, nothing is leased.
        """
        if self._waiting or self._free_bytes < self.sizes_bytes[0]:
            await self._turn()
        for size_bytes in reversed(self.sizes_bytes):
            if size_bytes <= wanted_bytes and size_bytes <= self._free_bytes:
                return self._grant(size_bytes)
        return self._grant(self.sizes_bytes[0])

    @property
    def _free_bytes(self) -> int:
        return self._max_bytes - self._leased_bytes - self._promised_bytes

    async def _turn(self) -> None:
        """Wait until it is this caller's turn; then at least the smallest size is free."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise BudgetExhausted(self._max_bytes, self._wait_s) from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        self._promised_bytes -= self.sizes_bytes[0]

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Leave the line, or pass on a promise that came too late."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif not turn.cancelled():
            self._promised_bytes -= self.sizes_bytes[0]
            self._wake()

    def _wake(self) -> None:
        """Promise what is free, in the smallest size, to those who have waited longest.

        What is promised is nobody else's until the one who was woken has run.
        """
        while self._waiting and self._free_bytes >= self.sizes_bytes[0]:
            turn = self._waiting.popleft()
            if not turn.done():
                self._promised_bytes += self.sizes_bytes[0]
                turn.set_result(None)

    def _grant(self, size_bytes: int) -> Lease:
        pool = self._pool[size_bytes]
        if pool:
            memory = pool.pop()
            self._pooled_bytes -= size_bytes
        else:
            self._shrink_pool(size_bytes)
            memory = mmap.mmap(-1, size_bytes)
        self._account(size_bytes)
        return Lease(self, memory)

    def _shrink_pool(self, needed_bytes: int) -> None:
        """Drop idle buffers of other sizes, so that pool and leases together keep the budget."""
        for pool in self._pool.values():
            while pool and self._leased_bytes + self._pooled_bytes + needed_bytes > self._max_bytes:
                self._pooled_bytes -= len(pool.pop())

    def _return(self, memory: mmap.mmap) -> None:
        self._account(-len(memory))
        self._pool[len(memory)].append(memory)
        self._pooled_bytes += len(memory)
        self._wake()

    def _account(self, change_bytes: int) -> None:
        self._leased_bytes += change_bytes
        self._metrics.in_flight_bytes.set(self._leased_bytes)


class Admission:
    """How many uploads receive at one time."""

    def __init__(self, max_uploads: int, metrics: Metrics) -> None:
        self._max_uploads = max_uploads
        self._metrics = metrics
        self._receiving = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count one upload in while the block runs. Raises TooManyUploads."""
        if self._receiving >= self._max_uploads:
            raise TooManyUploads(self._max_uploads)
        self._receiving += 1
        self._metrics.uploads_in_flight.set(self._receiving)
        try:
            yield
        finally:
            self._receiving -= 1
            self._metrics.uploads_in_flight.set(self._receiving)


def check_size(size_bytes: int, *, limit_bytes: int) -> None:
    """Raise BlobTooLarge when a blob of this size, announced or reached, is over the limit."""
    if size_bytes > limit_bytes:
        raise BlobTooLarge(limit_bytes=limit_bytes, size_bytes=size_bytes)
