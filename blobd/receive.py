"""The pump: from a body to a staging, hashed on the way. Buffers in, limits, hash beside append.

While one buffer fills, the last one is hashed and written, on two threads. A buffer is leased
only when bytes are there to fill it and goes back as soon as they are hashed and written. It
starts small; it grows while the client fills it and shrinks when the client pauses.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blobd.digest import Span
from blobd.limits import check_size
from blobd.threads import Threads, cancellable, outlast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from blobd.backends.base import Staging
    from blobd.hashing import Hasher
    from blobd.limits import Budget, Lease
    from blobd.metrics import Metrics
    from blobd.threads import Cancellation

_INLINE_BYTES = 16 * 1024
"""Up to here hashing on the loop (some 10 µs) is cheaper than a thread's round trip."""


class Body(Protocol):
    """A request's body on its way in. One reader."""

    @property
    def length_bytes(self) -> int | None:
        """The announced length; None where it shows only at the end."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the last byte has been returned."""
        ...

    async def ready(self) -> bool:
        """Wait until a byte is there, holding no buffer; return False at the end of the body.

        Raises BodyBroken when the client is gone, BodyIdle, BodyMalformed.
        """
        ...

    async def receive(self, view: memoryview) -> Sequence[memoryview]:
        """Fill a buffer; return the parts of it that are body bytes, in order.

        Returns when the view is full, the body ends, or nothing more came for a moment, and
        then perhaps with no parts at all. Raises as `ready` does; BodyMalformed takes what else
        is in this buffer with it.
        """
        ...


@dataclass(slots=True)
class _Filled:
    """A buffer with body bytes in it, and the duty to release it."""

    lease: Lease
    pieces: Sequence[memoryview]
    size_bytes: int


class Receiver:
    """Pumps bodies. One per process; `receive` may run for any number of uploads at once."""

    def __init__(self, budget: Budget, threads: Threads, metrics: Metrics) -> None:
        self._budget = budget
        self._threads = threads
        self._metrics = metrics

    async def receive(
        self,
        body: Body,
        staging: Staging,
        hasher: Hasher,
        *,
        limit_bytes: int,
        progress: Callable[[], Awaitable[None]] | None = None,
        account: str | None = None,
    ) -> int:
        """Append a whole body to the staging and to the hash; return its bytes.

        `account` is whose share of the buffers it uses; None: a caller that acts for many.
        `limit_bytes` bounds the staging's offset: BlobTooLarge once it would be passed, nothing
        beyond it written. `progress` is awaited between buffers. Raises what the body, the budget
        and `Staging.append` raise. However it ends, by an error or a cancellation too, no thread
        is left working, and unless `append` failed staging and hasher agree on all that arrived.
        """
        task = asyncio.current_task()
        cancellations = task.cancelling() if task is not None else 0
        try:
            with cancellable() as cancellation:
                async with asyncio.TaskGroup() as group:
                    return await self._pump(
                        group,
                        body,
                        staging,
                        hasher,
                        cancellation,
                        limit_bytes=limit_bytes,
                        progress=progress,
                        account=account,
                    )
        except BaseExceptionGroup as errors:
            if task is not None and task.cancelling() > cancellations:
                raise asyncio.CancelledError from errors  # which is why the last buffer failed
            raise errors.exceptions[0] from None

    async def rehash(self, staging: Staging, hasher: Hasher, *, start: int = 0) -> None:
        """Feed the staged bytes from `start` on to a hasher that stands there, reading them."""
        async for data in staging.read(Span(start, staging.offset)):
            await self._threads.run(hasher.update, data)
            self._metrics.reread_bytes.inc(len(data))

    async def _pump(
        self,
        group: asyncio.TaskGroup,
        body: Body,
        staging: Staging,
        hasher: Hasher,
        cancellation: Cancellation,
        *,
        limit_bytes: int,
        progress: Callable[[], Awaitable[None]] | None,
        account: str | None,
    ) -> int:
        received_bytes = 0
        start_bytes = staging.offset
        filling = _Filling(self._budget, self._metrics, account)
        work: asyncio.Task[None] | None = None
        try:
            while (filled := await filling.fill(body)) is not None:
                try:
                    received_bytes += filled.size_bytes
                    check_size(start_bytes + received_bytes, limit_bytes=limit_bytes)
                    if work is not None:
                        await outlast(work)
                        work = None
                    if progress is not None:
                        await progress()
                except BaseException:
                    filled.lease.release()
                    raise
                if body.ended:
                    await self._work(filled, staging, hasher)
                else:
                    work = group.create_task(self._work(filled, staging, hasher))
        except asyncio.CancelledError:
            cancellation.set()  # or the last buffer might wait for a backend that is away
            raise
        finally:
            if work is not None:
                await outlast(work)
        return received_bytes

    async def _work(self, filled: _Filled, staging: Staging, hasher: Hasher) -> None:
        """Hash and append one buffer, and give it back."""
        try:
            if filled.size_bytes <= _INLINE_BYTES:
                self._hash(filled.pieces, hasher)
                await staging.append(filled.pieces)
                return
            hashing = self._threads.start(self._hash, filled.pieces, hasher)
            try:
                await staging.append(filled.pieces)
            finally:
                await outlast(hashing)
        finally:
            filled.lease.release()

    def _hash(self, pieces: Sequence[memoryview], hasher: Hasher) -> None:
        started = time.perf_counter()
        for piece in pieces:
            hasher.update(piece)
        self._metrics.hash_seconds.inc(time.perf_counter() - started)


class _Filling:
    """Takes buffers that fit the pace of one client, and fills them."""

    def __init__(self, budget: Budget, metrics: Metrics, account: str | None) -> None:
        self._budget = budget
        self._holding = None if account is None else budget.holding(account)
        self._metrics = metrics
        self._size = 0
        self._flowing = False

    async def fill(self, body: Body) -> _Filled | None:
        """Return the next bytes of the body in a leased buffer; None at its end."""
        started = time.perf_counter()
        while self._flowing or await body.ready():
            if body.ended:
                return None
            lease = await self._budget.take(self._budget.sizes_bytes[self._size], self._holding)
            try:
                pieces = await body.receive(lease.view)
                size_bytes = sum(map(len, pieces))
            except BaseException:
                lease.release()
                raise
            self._pace(size_bytes, len(lease.view))
            if size_bytes:
                self._metrics.received_bytes.inc(size_bytes)
                self._metrics.receive_wait_seconds.inc(time.perf_counter() - started)
                return _Filled(lease, pieces, size_bytes)
            lease.release()
        return None

    def _pace(self, filled_bytes: int, buffer_bytes: int) -> None:
        # Half a buffer may be chunk framing; less than that means that the client paused.
        self._flowing = filled_bytes >= buffer_bytes // 2
        if self._flowing:
            self._size = min(self._size + 1, len(self._budget.sizes_bytes) - 1)
        else:
            self._size = max(self._size - 1, 0)
