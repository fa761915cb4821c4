"""`python -m bench.fsck [COUNT [FOLDER]]`: what `blobd fsck` costs on a store of so many blobs.

Beside it the floor: a bare program that lists every folder with sizes and reads every row, in turn.
The store is that of `growth`; hard links to one file need tmpfs, or a COUNT below what the file
system allows.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import Process
from pathlib import Path
from statistics import median

from bench.growth import make_store

_ROUNDS = 3
_TIMES = ("wall_s", "cpu_s")
_FLOOR = """
import os, sqlite3, sys
blobs = os.path.join(sys.argv[1], "blobs", "sha256")
listed = 0
for shard in sorted(os.listdir(blobs)):
    with os.scandir(os.path.join(blobs, shard)) as entries:
        listed += len(sorted((entry.name, entry.stat().st_size) for entry in entries))
catalog = sqlite3.connect(os.path.join(sys.argv[1], "catalog.sqlite"))
read = sum(1 for _ in catalog.execute("SELECT digest, size_bytes FROM blobs ORDER BY digest"))
assert listed == read
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_kib: int


def main(blobs: str = "1000000", folder: str = "/dev/shm") -> None:
    """Print a table."""
    count = int(blobs)
    with tempfile.TemporaryDirectory(prefix="blobd-fsck-", dir=folder) as made:
        store = Path(made) / "store"
        maker = Process(target=make_store, args=(store, count))
        maker.start()  # a process measured below is counted the memory of the one that starts it
        maker.join()
        (store / "original").unlink()
        commands = {
            "floor": ("-c", _FLOOR, str(store)),
            "blobd fsck": ("-m", "blobd", "fsck", "--data", str(store)),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(_ROUNDS):
            for name, words in commands.items():
                costs[name].append(_run(*words))
    row = "{:>10} {:>8} {:>8} {:>10}"
    print(row.format("", "wall, s", "CPU, s", "peak, MiB"))
    for name, found in costs.items():
        wall_s, cpu_s = (median(getattr(each, field) for each in found) for field in _TIMES)
        peak_mib = max(each.peak_kib for each in found) / 1024
        print(row.format(name, f"{wall_s:.1f}", f"{cpu_s:.1f}", f"{peak_mib:.0f}"))


def _run(*words: str) -> Cost:
    started_s = time.monotonic()
    process = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(words[:3])} ended with {os.waitstatus_to_exitcode(status)}")
    wall_s = time.monotonic() - started_s
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


if __name__ == "__main__":
    main(*sys.argv[1:3])
