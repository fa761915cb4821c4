"""Jobs beside the traffic: each again and again, at its own pace, and none stops another."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import BlobdError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from blobd.metrics import Metrics
    from blobd.upkeep.clock import SteadyClock

_LAG_INTERVAL_S = 0.1
_CLOCK_INTERVAL_S = 1.0

_log = logging.getLogger("blobd.upkeep")


@dataclass(frozen=True, slots=True)
class Job:
    """What to do and how often; an interval of 0 means never."""

    name: str
    interval_s: float
    call: Callable[[], Awaitable[object]]
    removes: bool = False
    """Whether it removes what is old, for good: then it runs only while clocks agree."""


@asynccontextmanager
async def run_jobs(
    jobs: Sequence[Job], metrics: Metrics, clock: SteadyClock
) -> AsyncIterator[None]:
    """Run the jobs, and watch clocks and the loop's lag, while the block runs; then cancel them."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_repeat(job, clock)) for job in jobs if job.interval_s > 0]
        tasks.append(group.create_task(_watch_lag(metrics)))
        tasks.append(group.create_task(_watch_clock(clock)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _repeat(job: Job, clock: SteadyClock) -> None:
    # Processes that were started together should not all begin at once.
    await asyncio.sleep(min(job.interval_s, 10) * random.random())  # noqa: S311
    while True:
        try:
            if not job.removes or await clock.agrees():
                await job.call()
        except Exception as error:  # noqa: BLE001 the next run is the remedy
            passes = isinstance(error, BlobdError) and error.retryable
            _log.log(
                logging.WARNING if passes else logging.ERROR,
                "%s failed; it will run again in %g s: %s",
                job.name,
                job.interval_s,
                error,
                exc_info=not passes,
            )
        await asyncio.sleep(job.interval_s)


async def _watch_clock(clock: SteadyClock) -> None:
    while True:
        clock.look()
        await asyncio.sleep(_CLOCK_INTERVAL_S)


async def _watch_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + _LAG_INTERVAL_S
        await asyncio.sleep(_LAG_INTERVAL_S)
        metrics.loop_lag_seconds.observe(max(loop.time() - due_at, 0))
