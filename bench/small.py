"""Many small blobs through the registry: push, HEAD and GET, and the fsyncs a push costs."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import journal as metric
from bench import processes
from bench.hammers import Errand
from bench.journal import Journal, Key
from bench.plan import KIB, MIB, Plan
from bench.servers import (
    HOST,
    Server,
    running_blobd,
    running_docker_registry,
    running_peer,
    which,
)
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

_CLIENTS = 4
_SYNC_CALLS = "fsync,fdatasync,sync_file_range,msync,syncfs,sync"


def run(plan: Plan, journal: Journal) -> None:
    """Measure rates in memory with durability `none`, and fsyncs with `full`."""
    folder = plan.folder / "small"
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_blobd(folder / f"blobd-{workers}", workers=workers))
            for workers in (1, 2)
        ]
        servers.append(stack.enter_context(running_docker_registry(folder / "registry")))
        servers += [
            stack.enter_context(running_peer(peer, folder / f"peer-{peer[0]}"))
            for peer in plan.peers
        ]
        seed = 0
        for size_bytes in plan.small_sizes_bytes:
            title = _title(size_bytes)
            known = {server.name: _stock(server, size_bytes) for server in servers}
            kept = {server.name: frozenset(server.large_files()) for server in servers}
            for number in range(plan.rounds):
                for keep_alive in (True, False):
                    for mode in ("push", "head", "get"):
                        for server in servers:
                            way = "keep-alive" if keep_alive else "new connections"
                            case = f"{mode.upper() if mode != 'push' else mode} {title}, {way}"
                            journal.progress(
                                f"small {number + 1}/{plan.rounds} {server.name}: {case}"
                            )
                            seed += _CLIENTS
                            errands = [
                                _errand(
                                    server,
                                    mode,
                                    size_bytes,
                                    seed=seed + client,
                                    duration_s=plan.small_s,
                                    keep_alive=keep_alive,
                                    targets=known[server.name],
                                )
                                for client in range(_CLIENTS)
                            ]
                            _note(journal, server, case, errands)
                            server.drop_payload(keep=kept[server.name])
    _count_syncs(journal, (plan.disk or plan.folder) / "syncs")


def _title(size_bytes: int) -> str:
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes // KIB} KiB"


def _stock(server: Server, size_bytes: int) -> tuple[str, ...]:
    """Push blobs to read later, of almost the size; return their paths."""
    targets = []
    for seed in range(16):
        errand = _errand(server, "push", size_bytes - 16, seed=10_000_000 + seed, count_max=1)
        outcome = employ("bench.hammers", [[errand]])
        targets.append(server.blob(outcome.results[0]["last_digest"]))
    return tuple(targets)


def _errand(
    server: Server,
    mode: str,
    size_bytes: int,
    *,
    seed: int,
    duration_s: float = 60.0,
    keep_alive: bool = True,
    targets: tuple[str, ...] = (),
    count_max: int = 1_000_000_000,
) -> Errand:
    return Errand(
        mode=mode,
        host=HOST,
        port=server.port,
        uploads=server.uploads,
        targets=targets if mode != "push" else (),
        size_bytes=size_bytes,
        duration_s=duration_s,
        keep_alive=keep_alive,
        seed=seed,
        count_max=count_max,
    )


def _note(journal: Journal, server: Server, case: str, errands: list[Errand]) -> None:
    cpu_s = server.cpu_s()
    outcome = employ("bench.hammers", [[errand] for errand in errands])
    cpu_s = server.cpu_s() - cpu_s
    wall_s = max(r["end_s"] for r in outcome.results) - min(r["start_s"] for r in outcome.results)
    count = sum(result["requests"] for result in outcome.results)

    def note(name: str, value: float) -> None:
        journal.note(Key("small", case, server.name, name), value)

    note(metric.RATE, count / wall_s)
    note(metric.CPU_EACH, cpu_s / count * 1e6)


def _count_syncs(journal: Journal, folder: Path) -> None:
    """Count what strace sees of one client's and of sixteen clients' pushes, durability `full`."""
    strace = which("strace")
    if strace is None:
        journal.progress("small: no strace, so fsyncs are not counted")
        return
    with running_blobd(folder / "blobd", workers=1, durability="full") as server:
        _stock(server, 4 * KIB)  # the repository's first push costs a few more
        for clients in (1, 16):
            journal.progress(f"small: fsyncs of pushes by {clients}")
            errands = [
                [
                    _errand(
                        server,
                        "push",
                        4 * KIB,
                        seed=20_000_000 + clients * 100 + index,
                        count_max=320 // clients,
                    )
                ]
                for index in range(clients)
            ]
            output = folder / "strace"
            command = [strace, "-f", "-qq", "-e", f"trace={_SYNC_CALLS}", "-e", "signal=none"]
            command += ["-o", str(output)]
            command += [f"--attach={pid}" for pid in processes.family(server.pid)]
            with subprocess.Popen(command) as tracer:
                time.sleep(1.0)
                outcome = employ("bench.hammers", errands)
                tracer.terminate()
            calls = sum("unfinished" not in line for line in output.read_text().splitlines())
            count = sum(result["requests"] for result in outcome.results)
            case = f"push 4 KiB, full durability, {clients} clients"
            journal.note(Key("small", case, server.name, metric.SYNCS), calls / count)
