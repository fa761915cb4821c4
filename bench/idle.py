"""One fast client beside a crowd of idle and slow ones, and what the crowd costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import journal as metric
from bench import processes
from bench.crowd import Orders
from bench.journal import Journal, Key
from bench.material import bodies, write_source
from bench.plan import MIB, Plan
from bench.receivers import Errand
from bench.servers import HOST, running_blobd, running_docker_registry
from bench.workforce import beside, employ

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.material import Body
    from bench.servers import Server

_WATCH_S = 2.0


def run(plan: Plan, journal: Journal) -> None:
    """Measure the fast client alone and beside the crowd, in turn."""
    source = plan.folder / "source"
    write_source(source, plan.large_bytes)
    body, kept = bodies(source, plan.large_bytes, 2)
    crowd = f"beside {plan.idle_clients:,} idle and {plan.slow_clients} slow"
    with (
        running_blobd(plan.folder / "idle-blobd", workers=1) as blobd,
        running_docker_registry(plan.folder / "idle-registry") as registry,
    ):
        for server in (blobd, registry):
            employ("bench.senders", [[kept.errand(server, "put")]])
        for number in range(plan.few_rounds):
            for server in (blobd, registry):
                journal.progress(f"idle {number + 1}/{plan.few_rounds} {server.name}")
                _fast(journal, server, body, kept, "alone")
                with _crowd(plan, server, kept):
                    cpu_s = server.cpu_s()
                    time.sleep(_WATCH_S)
                    load = (server.cpu_s() - cpu_s) / _WATCH_S * 100
                    journal.note(Key("idle", crowd, server.name, "CPU of the crowd, %"), load)
                    rss = processes.rss_bytes(server.pid) / MIB
                    journal.note(Key("idle", crowd, server.name, metric.MEMORY), rss)
                    _fast(journal, server, body, kept, crowd)
    source.unlink()


def _fast(journal: Journal, server: Server, body: Body, kept: Body, where: str) -> None:
    sent = employ("bench.senders", [[body.errand(server, "put")]]).results[0]
    speed = body.length_bytes / MIB / (sent["end_s"] - sent["start_s"])
    journal.note(Key("idle", f"upload {where}", server.name, metric.SPEED), speed)
    for path in server.payload.rglob(f"*{body.digest[7:]}*"):
        for file in [path] if path.is_file() else list(path.iterdir()):
            file.unlink()
    errand = Errand(HOST, server.port, server.blob(kept.digest))
    got = employ("bench.receivers", [[errand]]).results[0]
    speed = got["received_bytes"] / MIB / (got["end_s"] - got["start_s"])
    journal.note(Key("idle", f"download {where}", server.name, metric.SPEED), speed)


def _crowd(plan: Plan, server: Server, kept: Body) -> AbstractContextManager[None]:
    orders = Orders(
        HOST,
        server.port,
        server.uploads,
        server.blob(kept.digest),
        plan.idle_clients,
        plan.slow_clients,
    )
    return beside("bench.crowd", orders)
