"""Threads that a cancelled caller outlasts (B6)."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from blobd.threads import Threads, outlast
from tests.backends.acts import SOON_S, off_loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2, "test")
    yield made
    made.close()


class Gate:
    """A call that says when it began and waits to be let through."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.open = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.began.set()
        assert self.open.wait(SOON_S)
        self.ended = True
        return "done"


async def test_run_returns_what_the_call_returns_and_raises_what_it_raises(
    threads: Threads,
) -> None:
    """threads.py."""
    assert await threads.run(divmod, 7, 2) == (3, 1)
    assert await threads.run(int, "20", base=16) == 32
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_a_cancelled_caller_waits_for_its_thread(threads: Threads) -> None:
    """B6: when it has returned, nothing works on its arguments any more."""
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        caller = group.create_task(threads.run(gate))
        await off_loop(gate.began.wait, SOON_S)
        for _ in range(3):
            caller.cancel()
            await asyncio.sleep(0.01)
            assert not caller.done()
        gate.open.set()
    assert caller.cancelled()
    assert gate.ended


async def test_a_caller_cancelled_when_its_thread_fails_ends_cancelled(threads: Threads) -> None:
    """B6: and the failure is nobody's unretrieved exception."""
    gate = Gate()

    def fail() -> None:
        gate()
        raise ZeroDivisionError

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(threads.run(fail))
        await off_loop(gate.began.wait, SOON_S)
        caller.cancel()
        gate.open.set()
    assert caller.cancelled()


async def test_work_handed_over_can_be_outlasted_later(threads: Threads) -> None:
    """threads.py: start, then outlast, as often as one likes."""
    future = threads.start(divmod, 7, 2)
    assert await outlast(future) == (3, 1)
    assert await outlast(future) == (3, 1)


async def test_no_more_threads_run_than_were_asked_for(threads: Threads) -> None:
    """Threads: bounded; the rest waits its turn."""
    gates = [Gate() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for gate in gates:
            group.create_task(threads.run(gate))
        await off_loop(gates[0].began.wait, SOON_S)
        await off_loop(gates[1].began.wait, SOON_S)
        assert not gates[2].began.wait(0.05)
        for gate in gates:
            gate.open.set()
    assert all(gate.ended for gate in gates)


async def test_close_finishes_what_was_handed_over() -> None:
    """Threads.close."""
    threads = Threads(1, "test")
    gate = Gate()
    future = threads.start(gate)
    gate.open.set()
    await off_loop(threads.close)
    assert await future == "done"
