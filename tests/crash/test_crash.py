"""Kill -9 under load: a few rounds here, hundreds by `python -m tests.crash --rounds 200`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.crash.harness import Figures, Life, live_on, say

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("seed", "daemons", "workers", "rounds"),
    [
        pytest.param(1, 1, 1, 5, id="one daemon"),
        pytest.param(2, 2, 1, 4, id="two daemons on one folder"),
        pytest.param(3, 1, 2, 3, id="two workers"),
    ],
)
async def test_every_promise_outlives_kill_9(
    data: Path, seed: int, daemons: int, workers: int, rounds: int
) -> None:
    """Promises 1, 2, 3, 5, 9 and 11, at random moments of many uploads."""
    figures = Figures()
    await Life(seed, data, figures, daemons=daemons, workers=workers).run(rounds)
    assert figures.rounds == sum(figures.kills.values()) == rounds
    say(str(figures))


@pytest.mark.long
def test_every_promise_outlives_two_hundred_kills() -> None:
    """As above, for some half an hour, by a seed of its own; it is printed."""
    figures = live_on(time.time_ns() % 1_000_000, 200)
    assert figures.rounds == 200
    say(str(figures))
