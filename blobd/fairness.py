"""Who holds how much of what all accounts share, and how much one of them may.

Invariants
    (1) An account that holds nothing is given what is free, up to its last piece.
    (2) One that holds some is given more only while it stays within its share
        (`limits.account_share_percent`) of what it holds and what is free together: with a share of
        one half, while it holds no more than it leaves. So N greedy accounts end up with a part of
        N + 1 each, and one is left.
    (3) A request that waits for an amount waits for what others hold, never for one that waits: an
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
from collections import Counter, deque
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from blobd.errors import AccountBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_LOOK_S = 0.02
"""How often the first of an account that waits for its share looks whether it is within it."""
_EVERYBODY = "*"
"""No account's name: what all of them have."""
_ROWS, _COLUMNS = 4, 1024
_WORD_BYTES = 8

Snapshot = list[int]
"""What a tally's counters said at one time."""

NOBODY = ""
"""In place of an account: the daemon's own work, and callers that speak for many."""
_acting_for: ContextVar[str] = ContextVar("acting_for", default=NOBODY)


def act_for(account: str) -> None:
    """Let what this task does from here on, and what tasks do that it starts, be an account's.

    For what lies below and knows nothing of requests: backends and the catalog.
    """
    _acting_for.set(account)


def acting_for() -> str:
    """Return the account whose work this task does, or NOBODY."""
    return _acting_for.get()


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


class Portions:
    """What accounts take of an amount that all workers share. One for each worker's event loop.

    It grants no more than `may_take` allows. That the amount is there at all, and whose turn it is
    where it is not, is for others to see to.
    """

    def __init__(self, limit: int, tally: Tally, worker: int, *, share: float, what: str) -> None:
        """`tally` is what each account has, over all workers; `what` it is, for messages."""
        self._limit = limit
        self._tally = tally
        self._worker = worker
        self._share = share
        self._what = what
        self._everybody = tally.holding(_EVERYBODY, worker)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, account: str, amount: int, *, wait_s: float) -> None:
        """Count an amount as an account's, once it is within its share; one that has none is.

        What an account asks for is counted in that order. Raises AccountBusy after `wait_s`. If
        cancelled, nothing is counted.
        """
        turn = self._turns.get(account)
        if turn is None:
            self._turns[account] = turn = asyncio.Lock()
        try:
            async with asyncio.timeout(wait_s), turn:
                while not self._may_have_more(account, amount):  # noqa: ASYNC110 of all workers
                    await asyncio.sleep(_LOOK_S)
                self.count(account, amount)
        except TimeoutError:
            raise AccountBusy(self._what, self.held(account), self._limit) from None

    def is_greedy(self, account: str, amount: int) -> bool:
        """Return whether an account beside others would have more than its share of all."""
        held = self.held(account)
        if account == NOBODY or held + amount <= self._share * self._limit:
            return False
        return self._everybody.amount > held

    def count(self, account: str, amount: int) -> None:
        """Count an amount as an account's, or a negative one as given back."""
        self._everybody.add(amount)
        if account != NOBODY:
            self._tally.holding(account, self._worker).add(amount)

    def held(self, account: str) -> int:
        """Return what an account has, over all workers."""
        return 0 if account == NOBODY else self._tally.holding(account, self._worker).amount

    def _may_have_more(self, account: str, amount: int) -> bool:
        held = self.held(account)
        free = self._limit - self._everybody.amount
        return held == 0 or may_take(amount, held=held, free=free, share=self._share)


class FairPool:
    """An amount that the accounts of one process share, and wait for. For one event loop.

    Of the accounts that wait, the one that holds least goes next, and equals go by turns; each
    account's own order is kept. So where everything is held for moments only, a share of 1 lets an
    account that is alone use all of it, and beside others nobody waits behind all that one of them
    has asked for.
    """

    def __init__(self, limit: int, *, share: float, wait_s: float, what: str) -> None:
        """`what` it is, for the message to a request that waits in vain."""
        self._limit = limit
        self._share = share
        self._wait_s = wait_s
        self._what = what
        self._used = 0
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Turn]] = {}
        """By account; the next one among equals first."""

    @asynccontextmanager
    async def hold(self, account: str, amount: int = 1) -> AsyncIterator[None]:
        """Hold an amount while the block runs; wait until it can be had.

        `account` is NOBODY for one who speaks for many, who has no share but waits in turn. Raises
        AccountBusy after the configured wait. If cancelled, nothing is held.
        """
        await self.take(account, amount)
        try:
            yield
        finally:
            self.give(account, amount)

    def try_take(self, account: str, amount: int = 1) -> bool:
        """Hold an amount, if it is free at once; return whether. Its holder calls `give`."""
        if self._waiting or not self._can(account, amount):
            return False
        self._start(account, amount)
        return True

    def give(self, account: str, amount: int = 1) -> None:
        """Hold less, and let those have it who wait."""
        self._used -= amount
        self._held[account] -= amount
        if not self._held[account]:
            del self._held[account]
        self._serve()

    async def take(self, account: str, amount: int = 1) -> None:
        """Hold an amount, as `hold` does. Its holder calls `give`."""
        if self.try_take(account, amount):
            return
        turn = _Turn(amount, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(account, deque()).append(turn)
        self._serve()
        try:
            async with asyncio.timeout(self._wait_s):
                await turn.granted
        except BaseException as error:
            if turn.granted.done() and not turn.granted.cancelled():
                self.give(account, amount)  # it was granted, and came too late
            else:
                self._leave(account, turn)
            if isinstance(error, TimeoutError):
                raise AccountBusy(self._what, self._held[account], self._limit) from None
            raise

    def _can(self, account: str, amount: int) -> bool:
        free = self._limit - self._used
        share = self._share if account else 1
        return may_take(amount, held=self._held[account], free=free, share=share)

    def _start(self, account: str, amount: int) -> None:
        self._used += amount
        self._held[account] += amount

    def _leave(self, account: str, turn: _Turn) -> None:
        turns = self._waiting.get(account, deque())
        if turn in turns:  # and has not been passed over since it was cancelled
            turns.remove(turn)
            if not turns:
                del self._waiting[account]
        self._serve()

    def _serve(self) -> None:
        """Grant all that can be granted."""
        while (account := self._next()) is not None:
            turns = self._waiting.pop(account)
            turn = turns.popleft()
            if turns:
                self._waiting[account] = turns
            if not turn.granted.done():
                self._start(account, turn.amount)
                turn.granted.set_result(None)

    def _next(self) -> str | None:
        """Return the account whose turn it is, if what it waits for can be had."""
        if not self._waiting or self._used == self._limit:
            return None
        for account in sorted(self._waiting, key=self._held.__getitem__):
            if self._can(account, self._waiting[account][0].amount):
                return account
            if not self._held[account]:
                return None  # the next one that is free is this one's
        return None


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """A place in the line of those that wait."""

    amount: int
    granted: asyncio.Future[None]
