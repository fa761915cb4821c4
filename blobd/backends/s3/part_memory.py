"""Memory for the parts of uploads: so many buffers, shared by all uploads of all workers.

Invariants
    (1) No more buffers are held and kept than there are, over all workers (`quota.py`).
    (2) An upload waits for its first buffer only, in the order of asking. A holder is
        granted a further one at once or not at all, and never while another upload waits for a
        first. A further one is given back as soon as the engine has the part in it.
    (3) What is kept between two requests keeps nobody waiting: the oldest goes when its buffer is
        wanted, all of it when another worker waits, the others after a moment.
    (4) An upload holds its first buffer for as long as its client takes to fill it. So an account
        with buffers waits for another first one, outside of the line, until it is within its share
        (`../fairness.py`): there is always one for an account that holds none, unless there are as
        many busy accounts as buffers. Alone it may have all of them as further ones, beside others
        none beyond its share.
    So nobody waits for a buffer while it keeps one from others: it sends what it has, and goes on.

A buffer is a mapping of its own, made whole and used again: one that grows while bytes arrive is
moved by the allocator again and again, and leaves holes as large as itself.
"""

from __future__ import annotations

import asyncio
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import BudgetExhausted
from blobd.fairness import NOBODY, Portions, Tally
from blobd.quota import Quota

if TYPE_CHECKING:
    from blobd.quota import Share

KEPT_S = 10.0
"""How long an end is kept: a client that goes on does so at once."""
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

    def __init__(
        self,
        share: Share,
        *,
        part_size_bytes: int,
        wait_s: float,
        tally: Tally | None = None,
        account_share: float = 1,
    ) -> None:
        """`tally` is what each account holds, over all workers; None: of no account."""
        self._max_bytes = share.limit
        self._wait_s = wait_s
        self._part_size_bytes = part_size_bytes
        self._charge_bytes = min(part_size_bytes, share.limit)  # there is one buffer at least
        self._portions = Portions(
            share.limit,
            tally or Tally(),
            share.worker,
            share=account_share,
            what="bytes of parts on their way to S3",
        )
        self.quota = Quota(
            share,
            least=self._charge_bytes,
            wait_s=wait_s,
            shrink=self._shrink,
            spare=self._spare,
        )
        self._pool: list[mmap.mmap] = []
        self._kept: dict[str, tuple[End, asyncio.TimerHandle]] = {}
        """By name, the oldest first."""

    def hold(self, account: str = NOBODY) -> Held:
        """Return what one upload of an account holds: nothing yet."""
        return Held(self, account)

    async def _first(self, account: str) -> None:
        await self._portions.take(account, self._charge_bytes, wait_s=self._wait_s)
        try:
            await self.quota.use((self._charge_bytes,))
        except BaseException as error:
            self._count(account, -1)
            if isinstance(error, TimeoutError):
                raise BudgetExhausted(self._max_bytes, self._wait_s) from None
            raise

    def _further(self, account: str) -> bool:
        if self._portions.is_greedy(account, self._charge_bytes):
            return False
        granted = self.quota.try_use(self._charge_bytes)
        if granted:
            self._count(account, 1)
        return granted

    def _give_back(self) -> None:
        self.quota.release(self._charge_bytes)
        self._unmap_at_rest()

    def _count(self, account: str, buffers: int) -> None:
        """Count what an account holds. What is kept for it is nobody's: it gives way."""
        self._portions.count(account, buffers * self._charge_bytes)

    def _spare(self) -> int:
        """Drop the oldest end that is kept in a buffer."""
        for name, (end, _) in self._kept.items():
            if end.in_buffer:
                self._take(name)
                self._used(end.memory)
                return self._charge_bytes
        return 0

    def _shrink(self, most_bytes: int) -> None:
        del self._pool[most_bytes // self._charge_bytes :]

    def _unmap_at_rest(self) -> None:
        if not self.quota.used:
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
            if end.in_buffer:
                self._give_back()

    def _lend(self, size_bytes: int) -> mmap.mmap:
        is_usual = size_bytes == self._part_size_bytes  # but of sessions of other settings
        return self._pool.pop() if is_usual and self._pool else mmap.mmap(-1, size_bytes)

    def _used(self, memory: mmap.mmap | bytearray) -> None:
        if isinstance(memory, mmap.mmap) and len(memory) == self._part_size_bytes:
            self._pool.append(memory)


class Held:
    """The buffers that one upload holds."""

    def __init__(self, memory: PartMemory, account: str) -> None:
        self._memory = memory
        self._account = account
        self.count = 0

    async def first(self) -> None:
        """Hold at least one buffer.

        Raises AccountBusy, BudgetExhausted. If cancelled, nothing has changed.
        """
        if not self.count:
            await self._memory._first(self._account)
            self.count = 1

    def further(self) -> bool:
        """Hold one more, where one is free, nobody waits, and its account may; return whether."""
        granted = self._memory._further(self._account)
        self.count += granted
        return granted

    def shrink(self, most: int) -> None:
        """Give back what is above `most`."""
        while self.count > most:
            self.count -= 1
            self._memory._count(self._account, -1)
            self._memory._give_back()

    def lend(self, size_bytes: int) -> mmap.mmap:
        """Return the memory of a buffer that is held. Call `used` after using it."""
        return self._memory._lend(size_bytes)

    def used(self, memory: mmap.mmap | bytearray) -> None:
        """Let memory be used again; to be called before its buffer is given back."""
        self._memory._used(memory)

    def keep(self, name: str, end: End) -> None:
        """Keep an end for the next request of its upload; its buffer, if it has one, goes along.

        It is kept for KEPT_S at most, and only until another upload wants its buffer.
        """
        self._memory._keep(name, end)
        if end.in_buffer:
            self.count -= 1
            self._memory._count(self._account, -1)
            self._memory.quota.settle()

    def take(self, name: str) -> End | None:
        """Return an end that was kept, and hold its buffer; None where it is kept no longer."""
        end = self._memory._take(name)
        if end is not None and end.in_buffer:
            self.count += 1
            self._memory._count(self._account, 1)
        return end
