"""Bounded threads for calls that block: file operations, hashing, an S3 client.

A thread cannot be cancelled. So a cancelled caller waits until the thread that works for it is
done, and is cancelled then: when `run` has returned, in whatever way, nothing works on its
arguments any more, and a buffer among them may be reused (B6).

A small blob costs a handful of these hand-overs, so they are made of little: a queue the threads
wait at, and one future of the event loop for each call. An executor of the standard library has a
future with a lock of its own beside that, a chain between the two, and a shield around it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("blobd.threads")

P = ParamSpec("P")
T = TypeVar("T")


class _Work(Generic[T]):
    """A call handed over, and the future of whoever waits for it."""

    __slots__ = ("call", "ended", "future", "loop")

    def __init__(self, call: Callable[[], T]) -> None:
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.ended = False
        """Whether the thread is done with it, also when nobody waits any more."""

    def do(self) -> None:
        """Call, on a thread, and tell the loop."""
        result: Any = None
        error: BaseException | None = None
        try:
            result = self.call()
        except BaseException as caught:  # noqa: BLE001 raised again by whoever waits for it
            error = caught
        with suppress(RuntimeError):  # the loop has closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: T, error: BaseException | None) -> None:
        self.ended = True
        if self.future.done():  # cancelled; `wait` looks at `ended`
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)

    async def wait(self) -> T:
        """Return the result; a cancellation is passed on only when the thread is done."""
        try:
            return await self.future
        except asyncio.CancelledError:
            while not self.ended:
                self.future = self.loop.create_future()
                with suppress(BaseException):
                    await self.future
            raise


class Threads:
    """A pool of at most `count` threads, shared by all that blocks on one resource."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns, or raise what it raises, having run on a thread."""
        work = _Work(lambda: call(*args, **kwargs))
        self._hand_over(work.do)
        return await work.wait()

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Hand a call over and return at once; the caller must `outlast` the future."""
        work = _Work(lambda: call(*args, **kwargs))
        self._hand_over(work.do)
        return work.future

    def later(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Hand over, from any thread, a call that nobody waits for; a failure is logged."""

        def do() -> None:
            try:
                call(*args, **kwargs)
            except Exception:  # noqa: BLE001 nobody else would hear of it
                _log.exception("work in the background failed")

        self._hand_over(do)

    def close(self) -> None:
        """End the threads; calls already handed over are finished first. Blocks."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _hand_over(self, do: Callable[[], None]) -> None:
        self._queue.put(do)
        if len(self._threads) < self._count:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            if len(self._threads) < self._count:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        while (do := self._queue.get()) is not None:
            do()


async def outlast(future: asyncio.Future[T]) -> T:
    """Await a thread's future; a cancellation is passed on only when the thread is done."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()
        raise
