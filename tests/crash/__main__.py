"""`python -m tests.crash`: the long run. Prints the seed of every life, and figures at the end."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.crash.folders import MEMORY
from tests.crash.harness import live_on, say


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="kills in all (200)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--folder", type=Path, default=MEMORY, help="where data folders are made")
    options = parser.parse_args()
    started = time.monotonic()
    figures = live_on(options.seed, options.rounds, folder=options.folder)
    say(f"{figures}; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
