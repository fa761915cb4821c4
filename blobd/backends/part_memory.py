"""Memory for the parts of uploads: so many buffers, shared by all uploads of a process.

Invariants
    (1) No more buffers are held than there are.
    (2) An upload waits for its first buffer only, in the order of asking. Whoever has one is
        granted a further one at once or not at all, and never while somebody waits for a first.
    (3) What is kept between two requests lies in buffers that nobody holds, so it keeps nobody
        waiting: the oldest goes when its buffer is wanted, the others after a moment.
    So nobody waits for a buffer while he keeps one from others: he sends what he has, and goes on.

A buffer is a mapping of its own, made whole and used again: one that grows while bytes arrive is
moved by the allocator again and again, and leaves holes as large as itself.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from dataclasses import dataclass

from blobd.errors import BudgetExhausted

KEPT_S = 10.0
"""So long an end is kept: a client that goes on does it at once."""
_KEPT_MAX = 128
"""Ends of 64 KiB, which take no buffer, are one usual part's memory then."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of an upload that fills no part yet: the first bytes of a buffer, or a few alone."""

    memory: mmap.mmap | bytearray
    size_bytes: int

    @property
    def in_buffer(self) -> bool:
        """Whether it takes a buffer."""
        return isinstance(self.memory, mmap.mmap)


class PartMemory:
    """Counts buffers of one size. For one event loop."""

    def __init__(self, max_bytes: int, *, part_size_bytes: int, wait_s: float) -> None:
        self._max_bytes = max_bytes
        self._wait_s = wait_s
        self._part_size_bytes = part_size_bytes
        self._count = self._free = max(1, max_bytes // part_size_bytes)
        self._pool: list[mmap.mmap] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._kept: dict[str, tuple[End, asyncio.TimerHandle]] = {}
        """By name, the oldest first."""

    def hold(self) -> Held:
        """Return an account of what one upload holds: nothing yet."""
        return Held(self)

    async def _first(self) -> None:
        if self._free and not self._waiting:
            self._grant()
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
        self._grant()
        return True

    def _grant(self) -> None:
        self._free -= 1
        self._make_way()

    def _make_way(self) -> None:
        """Drop ends whose buffers are wanted."""
        keeping = [name for name, (end, _) in self._kept.items() if end.in_buffer]
        for name in keeping[: max(0, len(keeping) - self._free)]:
            self._drop(name)

    def _give_back(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
        self._unmap_at_rest()

    def _unmap_at_rest(self) -> None:
        if self._free == self._count:
            self._pool.clear()

    def _keep(self, name: str, end: End) -> None:
        if len(self._kept) == _KEPT_MAX:
            self._drop(next(iter(self._kept)))
        expiry = asyncio.get_running_loop().call_later(KEPT_S, self._drop, name)
        self._kept[name] = (end, expiry)

    def _take(self, name: str) -> End | None:
        if name not in self._kept:
            return None
        end, expiry = self._kept.pop(name)
        expiry.cancel()
        return end

    def _drop(self, name: str) -> None:
        end = self._take(name)
        if end is not None:
            self._used(end.memory)
            self._unmap_at_rest()

    def _lend(self, size_bytes: int) -> mmap.mmap:
        is_usual = size_bytes == self._part_size_bytes  # but of sessions of other settings
        return self._pool.pop() if is_usual and self._pool else mmap.mmap(-1, size_bytes)

    def _used(self, memory: mmap.mmap | bytearray) -> None:
        if isinstance(memory, mmap.mmap) and len(memory) == self._part_size_bytes:
            self._pool.append(memory)


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

    def lend(self, size_bytes: int) -> mmap.mmap:
        """Return the memory of a buffer that is held. Whoever has used it calls `used`."""
        return self._memory._lend(size_bytes)

    def used(self, memory: mmap.mmap | bytearray) -> None:
        """Let memory be used again; to be called before its buffer is given back."""
        self._memory._used(memory)

    def keep(self, name: str, end: End) -> None:
        """Keep an end for whoever takes the upload up next; its buffer, if it has one, goes back.

        It is kept for KEPT_S at most, and for no longer than nobody wants its buffer.
        """
        self._memory._keep(name, end)
        if end.in_buffer:
            self.give_back()
            self._memory._make_way()

    def take(self, name: str) -> End | None:
        """Return an end that was kept, and hold its buffer; None where it is kept no longer."""
        end = self._memory._take(name)
        if end is not None and end.in_buffer:
            self._memory._grant()
            self.count += 1
        return end
