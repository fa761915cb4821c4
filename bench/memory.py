"""Resident memory: idle, against the size of one upload, and against their number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench import journal as metric
from bench import processes
from bench.journal import Journal, Key
from bench.material import bodies, write_source
from bench.plan import KIB, MIB, Plan
from bench.servers import running_blobd, running_docker_registry
from bench.workforce import employ

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.material import Body
    from bench.servers import Server

_EACH_BYTES = 8 * MIB
_THREADS_EACH = 64


def run(plan: Plan, journal: Journal) -> None:
    """Measure each case on a fresh server, so that no case inherits another's memory."""
    source = plan.folder / "source"
    write_source(source, plan.large_bytes)
    for number in range(plan.few_rounds):
        for name in ("blobd", "docker-registry"):
            for size_bytes in (64 * MIB, plan.large_bytes):
                one = bodies(source, size_bytes, 1)
                _peak(plan, journal, name, f"1 upload of {size_bytes // MIB:,} MiB", one)
            for count in plan.upload_counts:
                journal.progress(f"memory {number + 1} {name}: {count} uploads at once")
                each_bytes = min(_EACH_BYTES * 4, plan.large_bytes * 2 // count) // KIB * KIB
                many = bodies(source, each_bytes, count)
                _peak(plan, journal, name, f"{count} uploads at once", many)
    source.unlink()


def _peak(plan: Plan, journal: Journal, name: str, case: str, work: list[Body]) -> None:
    with _start(name, plan.folder / "memory") as server:
        employ("bench.senders", [[bodies(work[0].source, MIB, 1)[0].errand(server, "put")]])
        idle_bytes = processes.rss_bytes(server.pid)
        shares = math.ceil(len(work) / _THREADS_EACH)
        errands = [
            [body.errand(server, "chunked") for body in work[n::shares]] for n in range(shares)
        ]
        employ("bench.senders", errands)
        peak_bytes = processes.rss_bytes(server.pid, peak=True)
        server.drop_payload()
    journal.note(Key("memory", "idle", server.name, metric.MEMORY), idle_bytes / MIB)
    journal.note(Key("memory", case, server.name, metric.MEMORY), peak_bytes / MIB)


def _start(name: str, folder: Path) -> AbstractContextManager[Server]:
    if name == "blobd":
        return running_blobd(folder / name, workers=1)
    return running_docker_registry(_fresh(folder / name))


def _fresh(folder: Path) -> Path:
    number = len(list(folder.parent.glob(f"{folder.name}-*"))) if folder.parent.exists() else 0
    return folder.with_name(f"{folder.name}-{number}")
