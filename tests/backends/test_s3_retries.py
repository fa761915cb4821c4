"""When a request is sent again: waits within a budget, and Retry-After."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.backends.s3.retries import FIRST_WAIT_S, LONGEST_WAIT_S, Retries, retry_after_s
from blobd.threads import Threads, cancellable, outlast, pause

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOR_EVER_S = 3600.0


class Clock:
    """Time that passes while somebody waits, and remembers for how long."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        self.waits_s.append(seconds)
        return True


def retries_of(clock: Clock, budget_s: float) -> Retries:
    return Retries(budget_s, clock=lambda: clock.now_s, wait=clock.wait)


@given(st.floats(0.01, 100))
def test_attempts_fill_the_budget_and_end_with_it(budget_s: float) -> None:
    """Issue: a time budget, jittered waits up to some seconds."""
    clock = Clock()
    retries = retries_of(clock, budget_s)
    while retries.again():
        pass
    assert clock.now_s == pytest.approx(budget_s)
    assert max(clock.waits_s) <= LONGEST_WAIT_S
    for number, wait_s in enumerate(clock.waits_s[:-1]):
        longest_s = min(FIRST_WAIT_S * 2**number, LONGEST_WAIT_S)
        assert longest_s / 2 <= wait_s <= longest_s
    assert not retries.again()


def test_equal_failures_do_not_come_back_together() -> None:
    """Issue: jittered; also where Retry-After is the same for all."""
    for asked_s in (0.0, 5.0):
        clocks = [Clock() for _ in range(20)]
        for clock in clocks:
            assert retries_of(clock, 30).again(asked_s)
        assert len({clock.now_s for clock in clocks}) == len(clocks)


@given(st.floats(0.1, 60), st.lists(st.floats(0, 20), min_size=1, max_size=20))
def test_nothing_is_sent_before_retry_after(budget_s: float, asked: list[float]) -> None:
    """Issue: obeyed, or the request ends at once; never cut short."""
    clock = Clock()
    retries = retries_of(clock, budget_s)
    for asked_s in asked:
        before_s = clock.now_s
        if not retries.again(asked_s):
            assert clock.now_s == before_s
            assert asked_s > budget_s - before_s or before_s >= budget_s
            return
        assert clock.now_s - before_s >= asked_s - 1e-9  # floats


def test_a_budget_of_zero_is_one_attempt() -> None:
    clock = Clock()
    assert not retries_of(clock, 0).again()
    assert clock.waits_s == []


def test_the_budget_begins_with_the_first_failure() -> None:
    """A first attempt that waits long for its answer takes nothing from the others."""
    clock = Clock()
    retries = retries_of(clock, 1)
    clock.now_s = 1000.0
    assert retries.again()


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [("10", 10), (" 7 ", 7), ("0", 0), ("", 0), ("soon", 0), ("-1", 0), ("1.5", 0), ("\u0661", 0)],
)
def test_retry_after_in_seconds(value: str, wait_s: float) -> None:
    """RFC 9110 section 10.2.3: delay-seconds; what is neither form asks for nothing."""
    assert retry_after_s({"retry-after": value}) == wait_s


def test_retry_after_as_a_date() -> None:
    """Counted from the engine's clock where it shows one, from ours where not; never negative."""
    then_s = 1_000_000_000
    dates = {"retry-after": formatdate(then_s + 12, usegmt=True), "date": formatdate(then_s)}
    assert retry_after_s(dates) == 12
    assert retry_after_s({"retry-after": formatdate(then_s, usegmt=True)}) == 0
    soon_s = retry_after_s({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert 0 < soon_s <= 101
    assert retry_after_s({}) == 0


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(4, "test")
    yield threads
    threads.close()


async def test_a_pause_ends_when_its_caller_is_cancelled(threads: Threads) -> None:
    """Issue: cancellation at once."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await threads.run(pause, _FOR_EVER_S)


async def test_a_pause_ends_when_its_result_is_abandoned(threads: Threads) -> None:
    """Parts of an upload that has failed try nothing again."""
    waiting, other = threads.start(pause, _FOR_EVER_S), threads.start(pause, 0.2)
    waiting.abandon()
    assert not await outlast(waiting)
    assert await outlast(other)


async def test_a_pause_ends_when_whoever_outlasts_it_is_cancelled(threads: Threads) -> None:
    """Directly, and with a task in between."""

    async def work() -> bool:
        return await outlast(threads.start(pause, _FOR_EVER_S))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await work()
    with cancellable():
        async with asyncio.TaskGroup() as group:
            working = group.create_task(work())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await outlast(working)
            assert not working.result()


async def test_what_is_cancelled_already_does_not_pause(threads: Threads) -> None:
    """One attempt is made, no more."""
    with cancellable() as cancellation:
        cancellation.set()
        assert not await threads.run(pause, _FOR_EVER_S)
    assert await threads.run(pause, 0.01)


async def test_nobody_pauses_when_the_threads_end() -> None:
    """A stop waits for no engine."""
    threads = Threads(2, "test")
    ended: list[bool] = []
    threads.later(lambda: ended.append(pause(_FOR_EVER_S)))
    await asyncio.get_running_loop().run_in_executor(None, threads.close)
    assert ended == [False]
