"""Upload of large bodies by one and by four clients, in the three ways that clients use."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import Body, bodies, write_source
from bench.metrics import Buckets, lag_added, lag_p99_ms, loop_lag
from bench.plan import GIB, MIB, Plan
from bench.servers import (
    Server,
    running_blobd,
    running_docker_registry,
    running_floor,
    running_nginx,
    running_peer,
)
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

WAYS = {"put": "PUT with length", "patch": "PATCH with length", "chunked": "PATCH, 32 KiB chunks"}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of measurement."""

    way: str
    clients: int
    bodies: tuple[Body, ...]
    place: str

    @property
    def title(self) -> str:
        """As tables name it."""
        people = "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"{WAYS[self.way]}, {people}{self.place}"


def run(plan: Plan, journal: Journal) -> None:
    """Measure in memory, and with full durability on the disk if there is one."""
    source = plan.folder / "source"
    write_source(source, plan.large_bytes)
    one = tuple(bodies(source, plan.large_bytes, 1))
    four = tuple(bodies(source, plan.crowd_bytes, 4))
    _measure(plan, journal, plan.folder / "upload", "", one, four)
    if plan.disk is not None:
        _measure(plan, journal, plan.disk / "upload", ", on disk", one, four)
    source.unlink()


def _measure(
    plan: Plan,
    journal: Journal,
    folder: Path,
    place: str,
    one: tuple[Body, ...],
    four: tuple[Body, ...],
) -> None:
    durability = "full" if place else "none"
    ways = ("put", "chunked") if place else tuple(WAYS)
    rounds = plan.few_rounds if place else plan.rounds
    cases = [Case(way, len(which), which, place) for which in (one, four) for way in ways]
    with ExitStack() as stack:
        servers = [stack.enter_context(running_floor(folder / "floor"))]
        for workers in (1, 2):
            data = folder / f"blobd-{workers}"
            context = running_blobd(data, workers=workers, durability=durability)
            servers.append(stack.enter_context(context))
        servers.append(stack.enter_context(running_docker_registry(folder / "registry")))
        servers.append(stack.enter_context(running_nginx(folder / "nginx")))
        servers += [
            stack.enter_context(running_peer(peer, folder / f"peer-{peer[0]}"))
            for peer in plan.peers
        ]
        lags: dict[Key, Buckets] = {}
        for number in range(-1, rounds):
            for case in cases:
                for server in _sensible(servers, case):
                    if number < 0:
                        if case.way == "put":
                            _once(server, case)
                        continue
                    journal.progress(f"upload {number + 1}/{rounds} {server.name}: {case.title}")
                    _note(journal, server, case, lags)
        for key, buckets in lags.items():
            journal.note(key, lag_p99_ms(buckets))


def _sensible(servers: list[Server], case: Case) -> list[Server]:
    """Return the servers for a case: the floor serves one client, plain PUTs come one way."""
    return [
        server
        for server in servers
        if (server.is_registry or case.way == "put")
        and not (server.name == "floor" and case.clients > 1)
        and not (server.name == "blobd, 2 workers" and case.clients == 1)
    ]


def _once(server: Server, case: Case) -> None:
    employ("bench.senders", [[body.errand(server, case.way)] for body in case.bodies])
    server.drop_payload()


def _note(journal: Journal, server: Server, case: Case, lags: dict[Key, Buckets]) -> None:
    lag_before = loop_lag(server)
    cpu_s = server.cpu_s()
    outcome = employ("bench.senders", [[body.errand(server, case.way)] for body in case.bodies])
    time.sleep(0.05)
    cpu_s = server.cpu_s() - cpu_s
    wall_s = max(r["end_s"] for r in outcome.results) - min(r["start_s"] for r in outcome.results)
    total_bytes = sum(body.length_bytes for body in case.bodies)

    def note(name: str, value: float) -> None:
        journal.note(Key("upload", case.title, server.name, name), value)

    note(metric.CPU, cpu_s / total_bytes * GIB)
    note(metric.SPEED, total_bytes / MIB / wall_s)
    note(metric.CLIENT, outcome.cpu_s / total_bytes * GIB)
    if lag_before is not None and case.clients > 1:
        key = Key("upload", f"{case.clients} clients stream{case.place}", server.name, metric.LAG)
        lags[key] = lag_added(lags.get(key, {}), lag_before, loop_lag(server))
    server.drop_payload()
