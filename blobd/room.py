"""Whether the store takes new bytes: how much room is free, and whether it can be written."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from blobd.errors import StorageFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.backends.base import Backend
    from blobd.metrics import Metrics

_FREE_SPACE_LIFETIME_S = 1.0
_PROBE_LIFETIME_S = 10.0

_log = logging.getLogger("blobd.storage")


class Room:
    """The room of one backend. One per process."""

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics,
        *,
        min_free_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._free_bytes: int | None = None
        self._free_known_until = float("-inf")
        self._probing = asyncio.Lock()
        self._probed_until = float("-inf")
        self._full = False

    async def check(self, announced_bytes: int) -> None:
        """Return if so many bytes more leave the room that the operator keeps free.

        What is free is looked up once a second. Raises StorageFull, BackendUnavailable.
        """
        now = self._clock()
        if now >= self._free_known_until:
            self._free_bytes = await self._backend.free_bytes()
            self._free_known_until = now + _FREE_SPACE_LIFETIME_S
        if self._free_bytes is None:
            return
        if self._free_bytes - announced_bytes < self._min_free_bytes:
            raise StorageFull

    async def probe(self) -> None:
        """Return if a new upload would be taken: write something, and look at what is free.

        Only a success of the last 10 s is remembered. Raises StorageFull, BackendUnavailable.
        """
        async with self._probing:
            await self.check(0)
            if self._clock() >= self._probed_until:
                await self._backend.probe()
                self._probed_until = self._clock() + _PROBE_LIFETIME_S

    async def watch(self) -> None:
        """Set the metric of a full store, and log one line when it fills up and one after.

        A backend without a bound is not asked: each probe of a bucket costs requests.
        """
        if await self._backend.free_bytes() is None:
            return
        full = False
        try:
            await self.check(0)
            await self._backend.probe()
        except StorageFull:
            full = True
        self._metrics.storage_full.set(full)
        if full and not self._full:
            _log.warning(
                "the store is full: uploads are answered 507, reads and deletes go on; "
                "free some space (see `blobd gc --dry-run` and limits.min_free_bytes)"
            )
        elif self._full and not full:
            _log.info("the store has room again: uploads are taken")
        self._full = full
