"""Cancel a call at every await it has, and see what is left (B6).

A *scenario* is an async context manager. It prepares, yields the call to be cancelled, and after
the `yield` checks what must hold however far the call got. It opens and closes all that it uses,
so that whatever is still there afterwards has leaked.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

Scenario = Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[object]]]]


async def cancel_at_each_checkpoint(scenario: Scenario) -> int:
    """Run a scenario once per await of its call, cancelling there; return how many there were.

    Each await is cancelled twice over: while it waits, and when what it waits for has just
    happened, so that a result is lost on its way. The call must end cancelled; then no file is
    open and no thread runs that was not before.
    """
    number = 0
    for late in (False, True):
        number = 0
        while await _cancelled_at(scenario, number + 1, late=late):
            number += 1
    return number


async def _cancelled_at(scenario: Scenario, number: int, *, late: bool) -> bool:
    """Return whether the call had an await of this number to be cancelled at."""
    loop = asyncio.get_running_loop()
    files = await loop.run_in_executor(None, _open_files)
    threads = _running_threads()
    canceller = _Canceller(number, late=late)
    await _play(scenario, canceller)
    leaked = await loop.run_in_executor(None, _open_files) - files
    if leaked:  # urllib3 closes the connections of a pool when the pool is collected
        gc.collect()
        leaked = await loop.run_in_executor(None, _open_files) - files
    assert not leaked, f"cancelled at {canceller}, these stay open: {sorted(leaked)}"
    running = _running_threads() - threads
    assert not running, f"cancelled at {canceller}, these threads run on: {sorted(running)}"
    return canceller.fired


async def _play(scenario: Scenario, canceller: _Canceller) -> None:
    """Run a scenario; the frames of its call, which a cancelled task keeps, go when it returns."""
    async with scenario() as call:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(canceller.run(call))
            await asyncio.wait([task])
        assert task.cancelled() == canceller.fired, (
            f"cancelled at {canceller}, the call went on as if it had not been"
        )


class _Canceller:
    """Steps a coroutine, counting where it waits, and cancels its task at one of these places."""

    def __init__(self, number: int, *, late: bool) -> None:
        self._number = number
        self._late = late
        self._seen = 0
        self.fired = False

    def __str__(self) -> str:
        return f"await {self._number} ({'late' if self._late else 'early'})"

    async def run(self, call: Callable[[], Awaitable[object]]) -> None:
        async def called() -> None:
            await call()

        await self._stepped(called())

    @types.coroutine
    def _stepped(self, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        assert task is not None
        step: Callable[[], Any] = partial(coroutine.send, None)
        while True:
            try:
                waited_for = step()
            except StopIteration:
                return
            self._seen += 1
            if self._seen == self._number:
                self.fired = True
                if self._late and waited_for is not None:
                    waited_for.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001
                step = partial(coroutine.throw, error)
            else:
                step = partial(coroutine.send, None)


def _open_files() -> set[str]:
    """Return what this process has open: descriptors with what they lead to.

    Less /dev/null: the loop keeps one in reserve, from its first socket on.
    """
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of this listing
            found.add(f"{path.name} -> {path.readlink()}")
    return {each for each in found if not each.endswith(" -> /dev/null")}


def _running_threads() -> set[str]:
    """Return the threads of this process, but for those of the loop's own executor."""
    return {
        thread.name
        for thread in threading.enumerate()
        if not thread.name.startswith(("asyncio_", "uvloop_"))
    }
