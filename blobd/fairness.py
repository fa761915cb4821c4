"""Who holds how much of what all accounts share, and how much one of them may.

Invariants
    (1) An account that holds nothing is given what is free, up to its last piece.
    (2) One that holds some is given more only while it stays within its share
        (`limits.account_share_percent`) of what it holds and what is free together: with a share of
        one half, while it holds no more than it leaves. So N greedy accounts end up with a part of
        N + 1 each, and one is left.
    (3) Whoever waits for an amount waits for what others hold, never for somebody who waits: an
        account at its share does not hold up the next one in line.
    (4) Nobody is counted for what a killed worker held, once its end was seen.

(2) is the rule by which switches share their memory among queues ("dynamic thresholds", Choudhury
and Hahne, 1998). It needs no list of accounts and no number of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import secrets
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import AccountBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_ROWS, _COLUMNS = 4, 1024
_WORD_BYTES = 8

Snapshot = list[int]
"""What a tally's counters said at one time."""


def may_take(amount: int, *, held: int, free: int, share: float) -> bool:
    """Return whether an account that holds so much may have an amount of what is free."""
    if amount > free:
        return False
    return held == 0 or share >= 1 or (held + amount) * (1 - share) <= free * share


class Tally:
    """What each account holds, over all workers. Made before they are forked.

    The counts are a count-min sketch (Cormode and Muthukrishnan, 2005): an account has one of 1024
    counters in each of four rows, and holds what the least of them says. That is never too little;
    it is too much only where others share all four of its counters, which happens to one account
    in 10^12 for each that is busy. Each worker has counters of its own, so that nobody needs a
    lock: two that take at the same instant may pass a share by what they take.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._key = secrets.token_bytes(32)
        self._counts = memoryview(mmap.mmap(-1, _ROWS * _COLUMNS * workers * _WORD_BYTES)).cast("q")

    def holding(self, account: str, worker: int = 0) -> Holding:
        """Return a worker's hand on what an account holds."""
        text = account.encode(errors="surrogateescape")
        digest = hashlib.blake2b(text, key=self._key, digest_size=2 * _ROWS).digest()
        columns = [int.from_bytes(digest[2 * row : 2 * row + 2]) % _COLUMNS for row in range(_ROWS)]
        starts = tuple(
            (row * _COLUMNS + column) * self._workers for row, column in enumerate(columns)
        )
        return Holding(self, starts, worker)

    def held(self, starts: tuple[int, ...]) -> int:
        """Return what all workers say of some counters."""
        counts, workers = self._counts, self._workers
        return max(min(sum(counts[start : start + workers]) for start in starts), 0)

    def add(self, starts: tuple[int, ...], worker: int, amount: int) -> None:
        """Change a worker's counters."""
        for start in starts:
            self._counts[start + worker] += amount

    def snapshot(self) -> Snapshot:
        """Return what all workers say together, counter by counter."""
        workers = self._workers
        return [
            sum(self._counts[start : start + workers])
            for start in range(0, len(self._counts), workers)
        ]

    def correct(self, worker: int, before: Snapshot, found: Mapping[str, int]) -> None:
        """Replace what was counted in `before` by what accounts were found to hold then.

        What was counted since stays counted. Only the worker's own counters are written.
        """
        missing = [-count for count in before]
        for account, amount in found.items():
            for start in self.holding(account)._starts:
                missing[start // self._workers] += amount
        for index, amount in enumerate(missing):
            if amount:
                self._counts[index * self._workers + worker] += amount

    def retire(self, worker: int) -> None:
        """Forget what a worker held that has ended."""
        for index in range(worker, len(self._counts), self._workers):
            self._counts[index] = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """One worker's hand on what one account holds, over all workers."""

    _tally: Tally
    _starts: tuple[int, ...]
    _worker: int

    @property
    def amount(self) -> int:
        """What the account holds."""
        return self._tally.held(self._starts)

    def add(self, amount: int) -> None:
        """Let it hold more, or less."""
        self._tally.add(self._starts, self._worker, amount)


class FairPool:
    """An amount that the accounts of one process share, and wait for. For one event loop."""

    def __init__(self, limit: int, *, share: float, wait_s: float, what: str) -> None:
        """`what` it is, for the message to whoever waits in vain."""
        self._limit = limit
        self._share = share
        self._wait_s = wait_s
        self._what = what
        self._used = 0
        self._held: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}

    @asynccontextmanager
    async def hold(self, account: str, amount: int) -> AsyncIterator[None]:
        """Hold an amount while the block runs; wait until it can be had.

        Raises AccountBusy after the configured wait. If cancelled, nothing is held.
        """
        await self._take(account, amount)
        try:
            yield
        finally:
            self._give(account, amount)

    async def _take(self, account: str, amount: int) -> None:
        if account not in (name for name, _ in self._waiting.values()) and self._can(
            account, amount
        ):
            self._start(account, amount)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = account, amount
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if self._waiting.pop(turn, None) is None and not turn.cancelled():
                self._give(account, amount)  # it was granted, and came too late
            self._serve()
            if isinstance(error, TimeoutError):
                raise AccountBusy(self._what, self._held[account], self._limit) from None
            raise

    def _can(self, account: str, amount: int) -> bool:
        free = self._limit - self._used
        return may_take(amount, held=self._held[account], free=free, share=self._share)

    def _start(self, account: str, amount: int) -> None:
        self._used += amount
        self._held[account] += amount

    def _give(self, account: str, amount: int) -> None:
        self._used -= amount
        self._held[account] -= amount
        if not self._held[account]:
            del self._held[account]
        self._serve()

    def _serve(self) -> None:
        """Grant what can be granted, in the order of asking, each account's own order kept."""
        passed_over: set[str] = set()
        for turn, (account, amount) in list(self._waiting.items()):
            if turn.done() or account in passed_over:
                continue
            if self._can(account, amount):
                del self._waiting[turn]
                self._start(account, amount)
                turn.set_result(None)
            elif not self._held[account]:
                return  # the next one that is free is this one's
            else:
                passed_over.add(account)
