"""Bounded threads for calls that block: file operations, hashing, an S3 client.

A thread cannot be cancelled. So a cancelled caller waits until the thread that works for it is
done, and is cancelled then: once `run` has returned, in whatever way, nothing uses its
arguments, and a buffer among them may be reused (B6).

So work that waits before it tries something again must not go on with that: it waits by `pause`,
which ends at once when the caller that waits for the work is cancelled, or has abandoned it.

A small blob costs a handful of these hand-overs, so they are made of little: a queue the threads
wait at, and one future of the event loop for each call. An executor of the standard library has a
future with a lock of its own beside that, a chain between the two, and a shield around it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger("blobd.threads")

P = ParamSpec("P")
T = TypeVar("T")


_LOOK_S = 0.02
"""How often a thread that pauses looks whether it is still wanted."""


class Cancellation:
    """Signals to threads that no caller waits for their work. May be set on any thread."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """Let all that pauses within this go on, without what it paused for."""
        self.is_set = True


_scope: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
_thread = threading.local()


@contextmanager
def cancellable() -> Iterator[Cancellation]:
    """Within: work handed over by this task, and tasks it starts, also heeds what is returned.

    For tasks that outlast work which has other tasks between itself and the threads.
    """
    cancellation = Cancellation()
    token = _scope.set(cancellation)
    try:
        yield cancellation
    finally:
        _scope.reset(token)


def pause(seconds: float) -> bool:
    """Wait on this thread; return False, at once, when its work is abandoned. Blocks."""
    heeded: tuple[Cancellation, ...] = getattr(_thread, "heeded", ())
    end_s = time.monotonic() + seconds
    while not any(cancellation.is_set for cancellation in heeded):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return True
        time.sleep(min(left_s, _LOOK_S))
    return False


class Handed(asyncio.Future[T]):
    """The result of work that a thread has been given."""

    cancellation: Cancellation

    def abandon(self) -> None:
        """Say that nobody wants the result: the thread tries nothing again, and ends soon."""
        self.cancellation.set()


class _Work(Generic[T]):
    """A call handed over, and the future of its caller."""

    __slots__ = ("call", "cancellation", "ended", "future", "loop", "scope")

    def __init__(self, call: Callable[[], T], future: asyncio.Future[T] | None = None) -> None:
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future() if future is None else future
        self.ended = False
        """Whether the thread is done with it, also if no caller waits."""
        self.cancellation = Cancellation()
        self.scope = _scope.get()

    def do(self) -> None:
        """Call, on a thread, and hand the result to the loop."""
        result: Any = None
        error: BaseException | None = None
        own, scope = self.cancellation, self.scope
        _thread.heeded = (*_thread.pool, own) if scope is None else (*_thread.pool, own, scope)
        try:
            result = self.call()
        except BaseException as caught:  # noqa: BLE001 raised again in the caller
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
            self.cancellation.set()
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
        self._closing = Cancellation()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns, or raise what it raises, having run on a thread."""
        work = _Work(lambda: call(*args, **kwargs))
        self._hand_over(work.do)
        return await work.wait()

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Handed[T]:
        """Hand a call over and return at once; the caller must `outlast` the future."""
        future: Handed[T] = Handed(loop=asyncio.get_running_loop())
        work = _Work(lambda: call(*args, **kwargs), future)
        future.cancellation = work.cancellation
        self._hand_over(work.do)
        return future

    def later(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Hand over, from any thread, a call that nobody waits for; a failure is logged."""

        def do() -> None:
            _thread.heeded = _thread.pool
            try:
                call(*args, **kwargs)
            except Exception:  # noqa: BLE001 nobody else would hear of it
                _log.exception("work in the background failed")

        self._hand_over(do)

    def close(self) -> None:
        """End the threads; calls already handed over are finished first, without pauses. Blocks."""
        self._closing.set()
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
        _thread.pool = (self._closing,)
        while (do := self._queue.get()) is not None:
            do()


async def outlast(future: asyncio.Future[T]) -> T:
    """Await a thread's future; a cancellation is passed on only when the thread is done."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if isinstance(future, Handed):
            future.abandon()
        if (scope := _scope.get()) is not None:
            scope.set()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()
        raise
