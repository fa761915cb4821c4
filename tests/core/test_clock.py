"""The time of jobs that remove: even, doubted when clocks disagree, believed again in the end."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BackendUnavailable
from blobd.upkeep.clock import SteadyClock, newest_trace

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400.0
SETTLE_S = 3600.0


class Machine:
    """A wall clock, a boot clock and a database's clock, which a test sets."""

    def __init__(self) -> None:
        self.wall_s = 1_800_000_000.0
        self.even_s = 500.0
        self.database_ahead_s: float | None = None
        self.away = False

    def pass_time(self, seconds: float) -> None:
        self.wall_s += seconds
        self.even_s += seconds

    async def database_now(self) -> float | None:
        if self.away:
            raise BackendUnavailable("the database is away")
        return None if self.database_ahead_s is None else self.wall_s + self.database_ahead_s

    def clock(self, *, trace_at: float | None = None) -> SteadyClock:
        return SteadyClock(
            settle_s=SETTLE_S,
            trace_at=trace_at,
            database_now=self.database_now,
            wall_clock=lambda: self.wall_s,
            even_clock=lambda: self.even_s,
        )


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "blobd.upkeep")
    return caplog


async def test_it_goes_with_a_wall_clock_that_does_not_jump(machine: Machine) -> None:
    clock = machine.clock()
    for _ in range(100):
        machine.pass_time(600)
        machine.wall_s += 0.3  # as NTP slews
        assert await clock.agrees()
        assert abs(clock.now() - machine.wall_s) < 60
    assert clock.now() <= machine.wall_s


@pytest.mark.parametrize("jump_s", [40 * DAY_S, -40 * DAY_S])
async def test_a_jump_to_and_fro_makes_nothing_old(
    machine: Machine, jump_s: float, warnings: pytest.LogCaptureFixture
) -> None:
    clock = machine.clock()
    before = clock.now()
    machine.wall_s += jump_s
    for _ in range(8):
        machine.pass_time(1)
        assert not await clock.agrees()
        assert clock.now() <= before + 8
    machine.wall_s -= jump_s
    assert not await clock.agrees()
    machine.pass_time(SETTLE_S - 1)
    assert not await clock.agrees()
    machine.pass_time(1)
    assert await clock.agrees()
    assert clock.now() == pytest.approx(machine.wall_s)
    assert len(warnings.messages) == 1
    assert "jumped by" in warnings.messages[0]


async def test_a_jump_between_two_runs_is_noticed(machine: Machine) -> None:
    clock = machine.clock()
    machine.wall_s += 40 * DAY_S
    clock.look()
    machine.wall_s -= 40 * DAY_S
    assert not await clock.agrees()


async def test_a_clock_that_was_corrected_is_believed_later(machine: Machine) -> None:
    clock = machine.clock()
    machine.wall_s += 40 * DAY_S
    assert not await clock.agrees()
    machine.pass_time(SETTLE_S)
    assert await clock.agrees()
    assert clock.now() == machine.wall_s


async def test_sleep_is_no_jump(machine: Machine) -> None:
    """The boot clock goes on while a machine sleeps."""
    clock = machine.clock()
    machine.pass_time(40 * DAY_S)
    assert await clock.agrees()
    assert clock.now() == pytest.approx(machine.wall_s)


async def test_the_database_is_asked_too(
    machine: Machine, warnings: pytest.LogCaptureFixture
) -> None:
    clock = machine.clock()
    machine.database_ahead_s = 5.0
    assert await clock.agrees()
    machine.database_ahead_s = -40 * DAY_S
    for _ in range(5):
        assert not await clock.agrees()
        machine.pass_time(SETTLE_S)
    assert len(warnings.messages) == 1
    assert "database's clock" in warnings.messages[0]
    machine.database_ahead_s = 0.0
    machine.pass_time(SETTLE_S)
    assert await clock.agrees()
    machine.away = True
    assert not await clock.agrees()


@pytest.mark.parametrize("rest_s", [40 * DAY_S, -DAY_S])
async def test_a_start_long_after_the_last_trace_or_before_it_waits(
    machine: Machine, rest_s: float
) -> None:
    clock = machine.clock(trace_at=machine.wall_s - rest_s)
    assert not await clock.agrees()
    machine.pass_time(SETTLE_S)
    assert await clock.agrees()


async def test_a_start_soon_after_the_last_trace_does_not_wait(machine: Machine) -> None:
    assert await machine.clock(trace_at=machine.wall_s - 300).agrees()
    assert await machine.clock(trace_at=None).agrees()


def test_the_newest_trace(tmp_path: Path) -> None:
    assert newest_trace([tmp_path / "nothing"]) is None
    for name, at in (("old", 1000), ("new", 2000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert newest_trace([tmp_path / "old", tmp_path / "new", tmp_path / "nothing"]) == 2000.0
