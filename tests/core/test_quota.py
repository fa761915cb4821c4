"""One limit over several workers (quota.py's invariants): kept, fair, true after a kill."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobd import quota
from blobd.errors import BudgetExhausted
from blobd.limits import SIZES_BYTES, Budget, Lease
from blobd.metrics import Metrics
from blobd.quota import Account

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL, MIDDLE, LARGE = SIZES_BYTES
SOON_S = 20.0


def in_worker(work: Callable[[], None]) -> int:
    """Run something in a process of its own, as a worker; return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def budgets(max_bytes: int, workers: int, wait_s: float = SOON_S) -> tuple[Account, list[Budget]]:
    """Return the budgets of several workers, which all run on this loop."""
    account = Account(max_bytes, workers)
    made = [
        Budget(account.share(worker), wait_s=wait_s, metrics=Metrics()) for worker in range(workers)
    ]
    return account, made


class TestAccount:
    def test_what_all_hold_together_is_limited(self) -> None:
        """Invariant 1."""
        account = Account(10, 3)
        first, second, _ = (account.share(worker) for worker in range(3))
        assert first.take(6)
        assert second.take(5) is False
        assert second.take(4)
        assert (first.held, second.held, account.held) == (6, 4, 10)
        first.give(1)
        assert second.take(1)
        assert account.held == 10

    def test_a_killed_worker_holds_nothing(self) -> None:
        """Invariant 3: wherever it was killed, and what others hold stays theirs."""
        account = Account(10, 2)
        ours = account.share(0)
        assert ours.take(3)
        reading, writing = os.pipe()

        def hold() -> None:
            share = account.share(1)
            share.take(7)
            share.wait(time.monotonic_ns())
            os.write(writing, b"1")
            time.sleep(SOON_S)

        pid = in_worker(hold)
        os.read(reading, 1)
        os.close(reading)
        os.close(writing)
        assert ours.take(1) is False
        kill(pid)
        account.retire(1)
        assert account.held == 3
        assert ours.take(7)

    def test_a_worker_killed_with_the_lock_leaves_it(self) -> None:
        """Invariant 3: the kernel lets go of it."""
        account = Account(10, 2)
        reading, writing = os.pipe()

        def stick() -> None:
            assert account._lock is not None
            fcntl.lockf(account._lock, fcntl.LOCK_EX)
            os.write(writing, b"1")
            time.sleep(SOON_S)

        pid = in_worker(stick)
        os.read(reading, 1)
        os.close(reading)
        os.close(writing)
        assert account.share(0).take(1) is None, "nobody waits for another one to run"
        kill(pid)
        assert account.share(0).take(1)

    def test_who_waits_for_longer_goes_first(self) -> None:
        """Invariant 2."""
        account = Account(10, 3)
        first, second, third = (account.share(worker) for worker in range(3))
        second.wait(time.monotonic_ns())
        third.wait(time.monotonic_ns())
        assert first.take(1) is False
        assert first.is_behind()
        assert third.take(1, account._since[2]) is False
        assert second.take(1, account._since[1])
        second.wait(0)
        assert first.take(1) is False
        assert third.take(1, account._since[2])
        third.wait(0)
        assert first.take(1)
        assert not first.is_behind()

    def test_a_worker_that_is_stopped_while_it_waits_loses_its_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Invariant 4."""
        account = Account(10, 2)
        account.share(1).wait(time.monotonic_ns())
        assert account.share(0).take(1) is False
        monkeypatch.setattr(quota, "_PATIENCE_NS", 0)
        assert account.share(0).take(1)


class TestBudgets:
    async def test_one_worker_may_use_what_others_leave(self) -> None:
        """Issue: limits are limits of the daemon, and not a share of each worker."""
        account, (busy, *_) = budgets(8 * LARGE, 48)
        leases = [await busy.take(LARGE) for _ in range(8)]
        assert [len(lease.view) for lease in leases] == [LARGE] * 8
        assert account.held == 8 * LARGE
        for lease in leases:
            lease.release()

    async def test_what_lies_idle_in_another_worker_is_given_back(self) -> None:
        """Invariant 2; promise 7: with the memory in its pool."""
        account, (idle, hungry) = budgets(2 * SMALL, 2)
        for lease in [await idle.take(SMALL) for _ in range(2)]:
            lease.release()
        assert (account.held, idle._pooled_bytes) == (2 * SMALL, 2 * SMALL)
        async with asyncio.timeout(SOON_S):
            lease = await hungry.take(SMALL)
        assert idle._pooled_bytes == 0
        lease.release()

    async def test_the_account_is_empty_at_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 7: memory that nobody uses goes back."""
        monkeypatch.setattr(quota, "_TRIM_S", 0.01)
        account, (budget, _) = budgets(2 * LARGE, 2)
        (await budget.take(LARGE)).release()
        for _ in range(1000):
            if not account.held:
                break
            await asyncio.sleep(0.01)
        assert account.held == 0
        assert budget._pooled_bytes == 0

    async def test_what_is_used_again_and_again_is_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """quota.py: uploads in a steady state never touch the account."""
        monkeypatch.setattr(quota, "_TRIM_S", 0.002)
        account, (budget, _) = budgets(2 * LARGE, 2)
        takes = 0
        take = Account.take

        def counted(self: Account, worker: int, amount: int, since_ns: int) -> bool | None:
            nonlocal takes
            takes += 1
            return take(self, worker, amount, since_ns)

        monkeypatch.setattr(Account, "take", counted)
        for _ in range(50):
            (await budget.take(LARGE)).release()
            await asyncio.sleep(0.005)
        assert takes == 1
        assert account.held == LARGE

    async def test_a_waiting_worker_is_served_before_those_that_go_on(self) -> None:
        """Invariant 2: a busy worker does not starve another one."""
        _, (busy, hungry) = budgets(2 * SMALL, 2)
        served = asyncio.Event()

        async def push() -> None:
            while not served.is_set():
                lease = await busy.take(SMALL)
                await asyncio.sleep(0)
                lease.release()

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(push())
            await asyncio.sleep(0.05)
            for _ in range(20):
                (await hungry.take(SMALL)).release()
            served.set()

    async def test_a_budget_spent_by_another_worker_refuses_in_the_end(self) -> None:
        """Design section 7: 429; and the line is left."""
        account, (spender, other) = budgets(SMALL, 2, wait_s=0.5)
        lease = await spender.take(SMALL)
        with pytest.raises(BudgetExhausted):
            await other.take(SMALL)
        assert not any(account._since)
        lease.release()
        (await other.take(SMALL)).release()

    async def test_whoever_is_cancelled_in_the_line_leaves_it(self) -> None:
        account, (spender, other) = budgets(SMALL, 2)
        lease = await spender.take(SMALL)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(other.take(SMALL))
            await asyncio.sleep(0.02)
            assert any(account._since)
            waiting.cancel()
        assert not any(account._since)
        lease.release()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "release", "cancel", "run", "die"]),
        st.integers(0, 7),
        st.sampled_from([1, *SIZES_BYTES]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=100)
@given(steps=STEPS, max_bytes=st.sampled_from([SMALL, 3 * SMALL, MIDDLE + SMALL, LARGE]))
def test_whatever_workers_do_the_account_holds(
    steps: list[tuple[str, int, int]], max_bytes: int
) -> None:
    """Invariants 1 to 3: any order of asking, returning, giving up and dying, in three workers."""
    asyncio.run(_play(steps, max_bytes))


async def _play(steps: list[tuple[str, int, int]], max_bytes: int) -> None:
    account, workers = budgets(max_bytes, 3)
    asking: list[tuple[int, asyncio.Task[Lease]]] = []
    held: list[tuple[int, Lease]] = []

    def check() -> None:
        for worker, task in [each for each in asking if each[1].done()]:
            asking.remove((worker, task))
            if not task.cancelled():
                held.append((worker, task.result()))
        assert account.held <= max_bytes
        for worker, budget in enumerate(workers):
            in_memory = budget.leased_bytes + budget._pooled_bytes
            assert in_memory <= account._held[worker]

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        for verb, which, wanted_bytes in steps:
            worker = which % 3
            if verb == "take":
                asking.append((worker, group.create_task(workers[worker].take(wanted_bytes))))
            elif verb == "release" and held:
                held.pop(which % len(held))[1].release()
            elif verb == "cancel" and asking:
                asking[which % len(asking)][1].cancel()
            elif verb == "die":
                for _, task in [each for each in asking if each[0] == worker]:
                    task.cancel()
                await _settled()
                check()
                asking = [each for each in asking if each[0] != worker]
                held = [each for each in held if each[0] != worker]
                account.retire(worker)
                share = account.share(worker)
                workers[worker] = Budget(share, wait_s=SOON_S, metrics=Metrics())
            await _settled()
            check()
        while asking or held:
            await asyncio.sleep(0)
            check()
            while held:
                held.pop()[1].release()


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(4))
def test_processes_never_hold_more_than_the_limit(seed: int) -> None:
    """Invariants 1 and 3, by real processes, some of which are killed in whatever they do."""
    chance = random.Random(seed)
    account = Account(12 * SMALL, 4)
    in_use = Account(1 << 40, 4)
    """What each has really leased, written after it was granted and before it is returned."""

    def work(worker: int, seconds: float) -> Callable[[], None]:
        def run() -> None:
            asyncio.run(_push(account, in_use, worker, seconds))

        return run

    pids = {worker: in_worker(work(worker, 3)) for worker in range(4)}
    until = time.monotonic() + 2
    patience = until + SOON_S
    peak_bytes = 0
    while time.monotonic() < until or (peak_bytes < 8 * SMALL and time.monotonic() < patience):
        for _ in range(200):
            used_bytes = _held_at_one_time(in_use)
            peak_bytes = max(peak_bytes, used_bytes)
            assert used_bytes <= 12 * SMALL
        worker = chance.randrange(1, 4)
        kill(pids[worker])
        in_use.retire(worker)
        account.retire(worker)
        pids[worker] = in_worker(work(worker, 1))
    assert {ended(pid) for pid in pids.values()} == {0}
    assert account.held <= 12 * SMALL
    assert peak_bytes >= 8 * SMALL, "they did contend"


def _held_at_one_time(account: Account) -> int:
    """Add up words that others write: what one gives back while they are read, another may take."""
    while (words := list(account._held)) != list(account._held):
        pass
    return sum(words)


async def _push(account: Account, in_use: Account, worker: int, seconds: float) -> None:
    budget = Budget(account.share(worker), wait_s=SOON_S, metrics=Metrics())
    until = time.monotonic() + seconds
    chance = random.Random(os.getpid())

    async def upload() -> None:
        while time.monotonic() < until:
            lease = await budget.take(chance.choice([1, MIDDLE]))
            in_use._held[worker] += len(lease.view)
            await asyncio.sleep(chance.random() * 0.002)
            in_use._held[worker] -= len(lease.view)
            lease.release()

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(upload())
