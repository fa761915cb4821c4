"""Memory for the parts of uploads: so many buffers, shared by all uploads of a process.

Invariants
    (1) No more buffers are held than there are.
    (2) An upload waits for its first buffer only, in the order of asking. Whoever has one is
        granted a further one at once or not at all, and never while somebody waits for a first.
    So nobody waits for a buffer while he keeps one from others: he sends what he has, and goes on.

A buffer is made whole and used again: one that grows while bytes arrive is moved by the allocator
again and again, and leaves holes as large as itself.
"""

from __future__ import annotations

import asyncio
from collections import deque

from blobd.errors import BudgetExhausted


class PartMemory:
    """Counts buffers of one size. For one event loop."""

    def __init__(self, max_bytes: int, *, part_size_bytes: int, wait_s: float) -> None:
        self._max_bytes = max_bytes
        self._wait_s = wait_s
        self._part_size_bytes = part_size_bytes
        self._count = self._free = max(1, max_bytes // part_size_bytes)
        self._pool: list[bytearray] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    def hold(self) -> Held:
        """Return an account of what one upload holds: nothing yet."""
        return Held(self)

    async def _first(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._give_back()
            if isinstance(error, TimeoutError):
                raise BudgetExhausted(self._max_bytes, self._wait_s) from None
            raise

    def _further(self) -> bool:
        if not self._free or self._waiting:
            return False
        self._free -= 1
        return True

    def _give_back(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
        if self._free == self._count:
            self._pool.clear()


class Held:
    """The buffers that one upload holds."""

    def __init__(self, memory: PartMemory) -> None:
        self._memory = memory
        self.count = 0

    async def first(self) -> None:
        """Hold at least one buffer. Raises BudgetExhausted; if cancelled, nothing has changed."""
        if not self.count:
            await self._memory._first()
            self.count = 1

    def further(self) -> bool:
        """Hold one more, where one is free and nobody waits; return whether."""
        granted = self._memory._further()
        self.count += granted
        return granted

    def shrink(self, least: int) -> None:
        """Give back what is above `least`, where others wait for it."""
        while self.count > least and self._memory._waiting:
            self.give_back()

    def give_back(self) -> None:
        """Give one buffer back."""
        self.count -= 1
        self._memory._give_back()

    def lend(self, size_bytes: int) -> bytearray:
        """Return the memory of a buffer that is held. Whoever has used it calls `used`."""
        pool = self._memory._pool
        is_usual = size_bytes == self._memory._part_size_bytes  # but of sessions of other settings
        return pool.pop() if is_usual and pool else bytearray(size_bytes)

    def used(self, buffer: bytearray) -> None:
        """Let memory be used again; to be called before its buffer is given back."""
        if len(buffer) == self._memory._part_size_bytes:
            self._memory._pool.append(buffer)
