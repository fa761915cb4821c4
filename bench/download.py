"""Download of a large blob by one and by four clients, in ranges, and from cold pages."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import Body, bodies, write_source
from bench.plan import GIB, MIB, Plan
from bench.receivers import Errand
from bench.servers import (
    HOST,
    Server,
    running_blobd,
    running_docker_registry,
    running_nginx,
    running_peer,
)
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

_RANGE_BYTES = 16 * MIB
_SMALL_RANGE_BYTES = 256 * 1024
_SMALL_RANGES = 512


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of measurement."""

    title: str
    clients: int = 1
    ranges: tuple[tuple[int, int], ...] = ()
    cold: bool = False


def run(plan: Plan, journal: Journal) -> None:
    """Measure from memory; from the disk, cold and warm, if there is one."""
    source = plan.folder / "source"
    write_source(source, plan.large_bytes)
    body = bodies(source, plan.large_bytes, 1)[0]
    large = _spans(body.length_bytes, _RANGE_BYTES)
    small = _spans(body.length_bytes, _SMALL_RANGE_BYTES)[:_SMALL_RANGES]
    cases = [
        Case("whole, 1 client"),
        Case("whole, 4 clients", clients=4),
        Case("ranges of 16 MiB, 1 client", ranges=large),
        Case("ranges of 256 KiB, 1 client", ranges=small),
    ]
    _measure(plan, journal, plan.folder / "download", body, cases)
    if plan.disk is not None:
        cases = [
            Case("whole, 1 client, on disk, warm"),
            Case("whole, 1 client, on disk, cold", cold=True),
        ]
        _measure(plan, journal, plan.disk / "download", body, cases)
    source.unlink()


def _measure(plan: Plan, journal: Journal, folder: Path, body: Body, cases: list[Case]) -> None:
    with ExitStack() as stack:
        servers = []
        for workers in (1, 2):
            context = running_blobd(folder / f"blobd-{workers}", workers=workers)
            servers.append(stack.enter_context(context))
        servers.append(stack.enter_context(running_docker_registry(folder / "registry")))
        servers.append(stack.enter_context(running_nginx(folder / "nginx")))
        servers += [
            stack.enter_context(running_peer(peer, folder / f"peer-{peer[0]}"))
            for peer in plan.peers
        ]
        for server in servers:
            employ("bench.senders", [[body.errand(server, "put")]])
        for number in range(plan.rounds):
            for case in cases:
                for server in servers:
                    if server.name == "blobd, 2 workers" and case.clients == 1:
                        continue
                    journal.progress(
                        f"download {number + 1}/{plan.rounds} {server.name}: {case.title}"
                    )
                    if case.cold:
                        _make_cold(server)
                    _note(journal, server, body, case)
        for server in servers:
            server.drop_payload()


def _note(journal: Journal, server: Server, body: Body, case: Case) -> None:
    errand = Errand(HOST, server.port, server.blob(body.digest), case.ranges)
    cpu_s = server.cpu_s()
    outcome = employ("bench.receivers", [[errand]] * case.clients)
    time.sleep(0.05)
    cpu_s = server.cpu_s() - cpu_s
    wall_s = max(r["end_s"] for r in outcome.results) - min(r["start_s"] for r in outcome.results)
    total_bytes = sum(result["received_bytes"] for result in outcome.results)

    def note(name: str, value: float) -> None:
        journal.note(Key("download", case.title, server.name, name), value)

    note(metric.CPU, cpu_s / total_bytes * GIB)
    note(metric.SPEED, total_bytes / MIB / wall_s)
    note(metric.CLIENT, outcome.cpu_s / total_bytes * GIB)
    if case.clients == 1:
        note(
            metric.FIRST_BYTE,
            (outcome.results[0]["first_byte_s"] - outcome.results[0]["start_s"]) * 1e3,
        )


def _make_cold(server: Server) -> None:
    """Put what a server stores out of the page cache."""
    for path in server.payload.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def _spans(length_bytes: int, range_bytes: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        (first, min(first + range_bytes, length_bytes) - 1)
        for first in range(0, length_bytes, range_bytes)
    )
