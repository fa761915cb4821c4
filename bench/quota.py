"""`python -m bench.quota`: what one limit over all workers costs, in microseconds of CPU.

"Taken" is a buffer of the smallest size out of the budget and back, in a steady state; "held" is
one more of the account and back, under its lock, as for an upload's admission. Medians of rounds.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from blobd.limits import SIZES_BYTES, Budget
from blobd.metrics import Metrics
from blobd.quota import Account

_TIMES = 20_000
_ROUNDS = 5
_LIMIT_BYTES = 256 * 1024 * 1024


def main() -> None:
    """Print a table."""
    row = "{:>8} {:>11} {:>10}"
    print(row.format("workers", "taken, us", "held, us"))
    for workers in (1, 2, 16, 48):
        taken = median(asyncio.run(_taken_us(workers)) for _ in range(_ROUNDS))
        held = median(_held_us(workers) for _ in range(_ROUNDS))
        print(row.format(workers, f"{taken:.2f}", f"{held:.2f}"))


async def _taken_us(workers: int) -> float:
    share = Account(_LIMIT_BYTES, workers).share()
    budget = Budget(share, wait_s=1, metrics=Metrics())
    start_s = time.process_time()
    for _ in range(_TIMES):
        (await budget.take(SIZES_BYTES[0])).release()
    return (time.process_time() - start_s) / _TIMES * 1e6


def _held_us(workers: int) -> float:
    share = Account(_LIMIT_BYTES, workers).share()
    start_s = time.process_time()
    for _ in range(_TIMES):
        share.take(1)
        share.give(1)
    return (time.process_time() - start_s) / _TIMES * 1e6


if __name__ == "__main__":
    main()
