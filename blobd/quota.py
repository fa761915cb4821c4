"""One limit over all workers of a daemon: an account that all share, and each worker's quota of it.

Account invariants
    (1) What the workers hold together never exceeds the limit.
    (2) A worker that waits is served before others take more, in the order in which the workers
        began to wait; what others hold unused, they give back within `_TRIM_S`.
    (3) What a killed worker held is free again as soon as the supervisor has seen its end.
    (4) No worker waits for another one to run: a lock that is not free is tried again later, and
        one that is stopped while it waits loses its turn after `_PATIENCE_NS`.

How it is kept: each worker writes words of its own, what it holds and since when it waits. Taking
more is done under a lock of the kernel, which a killed holder lets go; giving back needs no lock,
for a sum that is read too high only makes others wait. A quota keeps what is given back for the
next use, so that uploads in a steady state never touch the account.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WORD_BYTES = 8
_TRIES = 3
_LOOK_S = 0.005
"""How often a worker that waits looks whether it is served."""
_TRIM_S = 0.1
"""How often a worker that holds something looks whether another one waits."""
_TRIMS_KEPT = 30
"""After how many looks it gives back what has not been in use since, even if nobody waits."""
_PATIENCE_NS = 1_000_000_000
_NEVER_NS = 2**63


class Account:
    """What the workers of a daemon hold of one limit. Made before they are forked."""

    def __init__(self, limit: int, workers: int = 1) -> None:
        """Make an account of which nothing is held."""
        self.limit = limit
        self.workers = workers
        memory = memoryview(mmap.mmap(-1, 3 * workers * _WORD_BYTES)).cast("Q")
        self._held = memory[:workers]
        self._since = memory[workers : 2 * workers]
        self._seen = memory[2 * workers :]
        self._lock: int | None = None
        if workers > 1:
            self._lock = os.memfd_create("blobd-account", os.MFD_CLOEXEC)
            weakref.finalize(self, os.close, self._lock)

    @property
    def held(self) -> int:
        """What all workers hold together."""
        return sum(self._held)

    def share(self, worker: int = 0) -> Share:
        """Return one worker's hand on the account."""
        return Share(self, worker)

    def retire(self, worker: int) -> None:
        """Free what a worker held that has ended."""
        self._since[worker] = 0
        self._held[worker] = 0

    def take(self, worker: int, amount: int, since_ns: int) -> bool | None:
        """Let a worker hold more; return whether, or None where the lock is not free right now."""
        if not self._locked():
            return None
        try:
            if sum(self._held) + amount > self.limit or self.is_behind(worker, since_ns):
                return False
            self._held[worker] += amount
            return True
        finally:
            if self._lock is not None:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def give(self, worker: int, amount: int) -> None:
        """Let a worker hold less."""
        self._held[worker] -= amount

    def wait(self, worker: int, since_ns: int) -> None:
        """Note that a worker waits since then, and still does; 0: it does not."""
        self._seen[worker] = time.monotonic_ns()
        self._since[worker] = since_ns

    def is_behind(self, worker: int, since_ns: int) -> bool:
        """Return whether another worker waits, and has done so for longer than since then."""
        if self.workers == 1 or not any(self._since):
            return False
        now_ns = time.monotonic_ns()
        return any(
            0 < since < since_ns and now_ns - self._seen[other] < _PATIENCE_NS
            for other, since in enumerate(self._since)
            if other != worker
        )

    def _locked(self) -> bool:
        if self._lock is None:
            return True
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return True
        return False


class Share:
    """One worker's hand on an account."""

    __slots__ = ("_account", "held", "worker")

    def __init__(self, account: Account, worker: int) -> None:
        self._account = account
        self.worker = worker
        self.held = 0
        """What this worker holds."""

    @property
    def limit(self) -> int:
        """What all workers may hold together."""
        return self._account.limit

    @property
    def free(self) -> int:
        """What no worker holds."""
        return self._account.limit - self._account.held

    def take(self, amount: int, since_ns: int = _NEVER_NS) -> bool | None:
        """Hold more, if no worker waits that has done so for longer than since then.

        Return whether; None where that could not be found out without waiting.
        """
        taken = self._account.take(self.worker, amount, since_ns)
        if taken:
            self.held += amount
        return taken

    def give(self, amount: int) -> None:
        """Hold less."""
        self.held -= amount
        self._account.give(self.worker, amount)

    def wait(self, since_ns: int) -> None:
        """Note that this worker waits since then, and still does; 0: it does not."""
        self._account.wait(self.worker, since_ns)

    def is_behind(self, since_ns: int = _NEVER_NS) -> bool:
        """Return whether another worker waits, and has done so for longer than since then."""
        return self._account.is_behind(self.worker, since_ns)


class Quota:
    """What one worker uses of what it holds, and who waits for some. For one event loop.

    Within a worker, too, those who wait are served in the order of asking, before anybody else.
    """

    def __init__(
        self,
        share: Share,
        *,
        least: int,
        wait_s: float,
        shrink: Callable[[int], None],
        spare: Callable[[], int] = lambda: 0,
    ) -> None:
        """Hold nothing yet. What is waited for is `least`.

        `shrink` is called before some is given back, with what may go on lying idle; `spare`
        when some is missing: it ends a use that can be done without, and returns its amount.
        """
        self._share = share
        self._least = least
        self._wait_s = wait_s
        self._shrink = shrink
        self._spare = spare
        self.used = 0
        """What is in use."""
        self._promised = 0
        self._peak = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._looks = self._trims = False
        self._looked = 0

    @property
    def idle(self) -> int:
        """What is held and not in use."""
        return self._share.held - self.used

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for some, in any worker."""
        return bool(self._waiting) or self._share.is_behind()

    async def use(self, amounts: Sequence[int]) -> int:
        """Use the largest of some ascending amounts that can be had; return it.

        Waits for `least`, which must be the smallest of them. Raises TimeoutError after the
        configured wait. If cancelled, nothing is used.
        """
        if self._waiting or not (found := self._largest(amounts)):
            await self._turn()
            found = self._largest(amounts)
        self._start(found)
        return found

    def try_use(self, amount: int) -> bool:
        """Use an amount, if nobody waits and it can be had at once; return whether."""
        if self.is_wanted or not self._can(amount):
            return False
        self._start(amount)
        return True

    def _largest(self, amounts: Sequence[int]) -> int:
        """Return the largest amount that is free or could be made so, or 0."""
        return next((amount for amount in reversed(amounts) if self._can(amount)), 0)

    def _start(self, amount: int) -> None:
        self.used += amount
        self._peak = max(self._peak, self.used)

    def reserve(self, amount: int) -> None:
        """Hold an amount beside what is in use, if nobody waits and it can be had at once."""
        if self.idle < amount and not self.is_wanted:
            self._share.take(amount - self.idle)

    def release(self, amount: int) -> None:
        """End the use of an amount."""
        self.used -= amount
        self.settle()

    def settle(self) -> None:
        """Serve those who wait: in this worker or, where another waits for longer, there."""
        if self._share.is_behind(self._oldest_ns()):
            self._yield_all()
        self._wake()

    def _can(self, amount: int, since_ns: int = _NEVER_NS) -> bool:
        """Make an amount free, unless others go first; return whether it is."""
        while (missing := amount - self.idle + self._promised) > 0:
            if self._share.take(missing, since_ns):
                self._start_trimming()
                return True
            spared = self._spare()
            if not spared:
                return False
            self.used -= spared
        return True

    async def _turn(self) -> None:
        """Wait for the caller's turn; then `least` is promised to the next to run: the caller."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((time.monotonic_ns(), turn))
        self._start_looking()
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException:
            self._give_up(turn)
            raise
        self._promised -= self._least

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Leave the line, or pass on a promise that came too late."""
        for waiting in self._waiting:
            if waiting[1] is turn:
                self._waiting.remove(waiting)
                self._tell()
                return
        if not turn.cancelled():
            self._promised -= self._least
            self.settle()

    def _wake(self) -> None:
        """Promise what is free to those who have waited longest.

        What is promised is nobody else's until the one who was woken has run.
        """
        while self._waiting and self._can(self._least, self._waiting[0][0]):
            _, turn = self._waiting.popleft()
            if not turn.done():
                self._promised += self._least
                turn.set_result(None)
            self._tell()

    def _yield_all(self) -> None:
        while spared := self._spare():
            self.used -= spared
        self._give(self.idle - self._promised)

    def _give(self, amount: int) -> None:
        if amount > 0:
            self._shrink(self.idle - amount)
            self._share.give(amount)

    def _oldest_ns(self) -> int:
        return self._waiting[0][0] if self._waiting else _NEVER_NS

    def _tell(self) -> None:
        """Publish to the other workers since when a request waits here."""
        self._share.wait(self._waiting[0][0] if self._waiting else 0)

    def _start_looking(self) -> None:
        if not self._looks:
            self._looks = True
            self._look()

    def _look(self) -> None:
        self._looks = bool(self._waiting)
        if self._looks:
            self._tell()
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)
            self.settle()

    def _start_trimming(self) -> None:
        if not self._trims:
            self._trims = True
            asyncio.get_running_loop().call_later(_TRIM_S, self._trim)

    def _trim(self) -> None:
        """Give back what others wait for, and what has not been in use for some time."""
        if self._share.is_behind(self._oldest_ns()):
            self._yield_all()
        self._looked += 1
        if self._looked == _TRIMS_KEPT:
            self._give(self._share.held - max(self._peak, self.used + self._promised))
            self._peak, self._looked = self.used, 0
        self._trims = False
        if self._share.held:
            self._start_trimming()
