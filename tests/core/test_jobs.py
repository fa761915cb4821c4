"""Jobs run again and again, whatever became of the last run; what passes is told in one line."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BackendUnavailable, BlobdError, ConfigInvalid
from blobd.metrics import Metrics
from blobd.upkeep.clock import SteadyClock
from blobd.upkeep.jobs import Job, run_jobs

if TYPE_CHECKING:
    from collections.abc import Callable


def failing(times: int, error: Exception, done: asyncio.Event) -> Callable[[], object]:
    left = [times]

    async def call() -> None:
        if left[0] == 0:
            done.set()
            return
        left[0] -= 1
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "level", "traced"),
    [
        (BackendUnavailable("the catalog is away"), logging.WARNING, False),
        (ConfigInvalid("wrong"), logging.ERROR, True),
        (RuntimeError("a bug"), logging.ERROR, True),
    ],
)
async def test_a_job_that_fails_runs_again(
    error: BlobdError | RuntimeError, level: int, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()
    job = Job("tidying", 0.01, failing(2, error, done))  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "blobd.upkeep"):
        async with asyncio.timeout(60), run_jobs([job], Metrics(), SteadyClock(settle_s=0)):
            await done.wait()
    assert [record.levelno for record in caplog.records] == [level, level]
    assert all(bool(record.exc_info) is traced for record in caplog.records)
    assert all("tidying" in record.getMessage() for record in caplog.records)
