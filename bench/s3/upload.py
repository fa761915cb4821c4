"""Upload of one large file: through blobd, by boto3 alone, through docker-registry."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import bodies
from bench.plan import GIB, MIB
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

    from bench.material import Body
    from bench.plan import Plan
    from bench.s3.site import Site
    from bench.servers import Server

CASE = "upload"
BOTO = "boto3"
BOTO_UNSIGNED = "boto3, bodies unsigned"
"""boto3 as blobd uses it: over plain http it would hash every body once more."""


def run(plan: Plan, journal: Journal, site: Site, source: Path) -> None:
    """Let everybody upload in turn, the engine emptied in between."""
    body = bodies(source, plan.large_bytes, 1)[0]
    site.warm(body.length_bytes)
    with ExitStack() as stack:
        blobd = stack.enter_context(site.blobd())
        registry = stack.enter_context(site.docker_registry())
        for number in range(plan.rounds):
            for server in (blobd, registry):
                journal.progress(f"s3 upload {number + 1}/{plan.rounds} {server.name}")
                _by_server(journal, site, server, body)
                site.settle()
            for name in (BOTO, BOTO_UNSIGNED):
                journal.progress(f"s3 upload {number + 1}/{plan.rounds} {name}")
                _by_boto(journal, site, name, body)
                site.settle()


def _by_server(journal: Journal, site: Site, server: Server, body: Body) -> None:
    engine_s, cpu_s = site.engine_cpu_s(), server.cpu_s()
    outcome = employ("bench.senders", [[body.errand(server, "put")]])
    time.sleep(0.05)
    engine_s, cpu_s = site.engine_cpu_s() - engine_s, server.cpu_s() - cpu_s
    result = outcome.results[0]
    wall_s = result["end_s"] - result["start_s"]
    _note(journal, server.name, body.length_bytes, wall_s, cpu_s, engine_s)
    key = Key("s3", CASE, server.name, metric.CLIENT)
    journal.note(key, outcome.cpu_s / body.length_bytes * GIB)


def _by_boto(journal: Journal, site: Site, name: str, body: Body) -> None:
    engine_s = site.engine_cpu_s()
    errand = site.errand("upload", "by-boto3", body.source, signed=name == BOTO)
    result = employ("bench.s3.boto", [[errand]]).results[0]
    engine_s = site.engine_cpu_s() - engine_s
    wall_s = result["end_s"] - result["start_s"]
    _note(journal, name, body.size_bytes, wall_s, result["cpu_s"], engine_s)


def _note(
    journal: Journal, name: str, size_bytes: int, wall_s: float, cpu_s: float, engine_s: float
) -> None:
    journal.note(Key("s3", CASE, name, metric.SPEED), size_bytes / MIB / wall_s)
    journal.note(Key("s3", CASE, name, metric.CPU), cpu_s / size_bytes * GIB)
    journal.note(Key("s3", CASE, name, metric.ENGINE), engine_s / size_bytes * GIB)
