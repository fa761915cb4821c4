"""Bounded threads for calls that block: file operations, hashing, an S3 client.

A thread cannot be cancelled. So a cancelled caller waits until the thread that works for it is
done, and is cancelled then: when `run` has returned, in whatever way, nothing works on its
arguments any more, and a buffer among them may be reused (B6).
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_log = logging.getLogger("blobd.threads")

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A pool of `count` threads, shared by all that blocks on one resource."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns, or raise what it raises, having run on a thread."""
        return await outlast(self.start(call, *args, **kwargs))

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Hand a call over and return at once; the caller must `outlast` the future."""
        loop = asyncio.get_running_loop()
        if kwargs:
            return loop.run_in_executor(self._pool, lambda: call(*args, **kwargs))
        return loop.run_in_executor(self._pool, call, *args)

    def later(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Hand over, from any thread, a call that nobody waits for; a failure is logged."""
        self._pool.submit(call, *args, **kwargs).add_done_callback(_log_failure)

    def close(self) -> None:
        """End the threads; calls already handed over are finished first."""
        self._pool.shutdown(wait=True)


def _log_failure(done: Future[object]) -> None:
    error = done.exception()
    if error is not None:
        _log.error("work in the background failed", exc_info=error)


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
