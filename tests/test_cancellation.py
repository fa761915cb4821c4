"""The canceller finds what it is made to find: a test of the tests' own tool."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cancellation import cancel_at_each_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Call = Callable[[], Awaitable[object]]


async def test_every_await_is_cancelled_once_and_checked_after() -> None:
    """cancellation.py: once per await, early and late, and once not at all."""
    runs: list[list[str]] = []

    @asynccontextmanager
    async def scenario() -> AsyncIterator[Call]:
        steps: list[str] = []
        runs.append(steps)

        async def call() -> None:
            loop = asyncio.get_running_loop()
            for step in ("one", "two", "three"):
                future = loop.create_future()
                loop.call_soon(future.set_result, None)
                await future
                steps.append(step)

        yield call
        steps.append("checked")

    assert await cancel_at_each_checkpoint(scenario) == 3
    reached = [
        ["checked"],
        ["one", "checked"],
        ["one", "two", "checked"],
        ["one", "two", "three", "checked"],
    ]
    assert runs == reached * 2


async def test_a_result_is_lost_on_its_way() -> None:
    """cancellation.py: late means that what was waited for has happened."""
    happened: list[bool] = []

    @asynccontextmanager
    async def scenario() -> AsyncIterator[Call]:
        future = asyncio.get_running_loop().create_future()

        async def call() -> None:
            asyncio.get_running_loop().call_soon(_settle, future)
            await future

        yield call
        happened.append(future.done() and not future.cancelled())

    await cancel_at_each_checkpoint(scenario)
    assert happened == [False, True, True, True]


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def test_a_swallowed_cancellation_is_noticed() -> None:
    """B6: a call that goes on as if nothing was."""

    @asynccontextmanager
    async def scenario() -> AsyncIterator[Call]:
        async def call() -> None:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return

        yield call

    with pytest.raises(AssertionError, match="went on as if it had not been"):
        await cancel_at_each_checkpoint(scenario)


async def test_a_leaked_descriptor_is_noticed() -> None:
    """B6."""
    leaked: list[int] = []

    @asynccontextmanager
    async def scenario() -> AsyncIterator[Call]:
        async def call() -> None:
            leaked.extend(os.pipe())
            await asyncio.sleep(0)
            os.close(leaked.pop())
            os.close(leaked.pop())

        yield call

    with pytest.raises(AssertionError, match="stay open"):
        await cancel_at_each_checkpoint(scenario)
    for fd in leaked:
        os.close(fd)


async def test_a_leaked_thread_is_noticed() -> None:
    """B6."""
    end = threading.Event()
    threads: list[threading.Thread] = []

    @asynccontextmanager
    async def scenario() -> AsyncIterator[Call]:
        async def call() -> None:
            thread = threading.Thread(target=end.wait, name="left behind")
            thread.start()
            threads.append(thread)
            await asyncio.sleep(0)

        yield call

    with pytest.raises(AssertionError, match="left behind"):
        await cancel_at_each_checkpoint(scenario)
    end.set()
    for thread in threads:
        thread.join()
