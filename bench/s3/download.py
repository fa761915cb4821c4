"""Download streamed through blobd, and by boto3 to nowhere; and the way to the first byte."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import bodies
from bench.metrics import read_metric
from bench.plan import GIB, KIB, MIB
from bench.receivers import Errand
from bench.s3.upload import BOTO
from bench.servers import HOST
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

    from bench.material import Body
    from bench.plan import Plan
    from bench.s3.site import Site
    from bench.servers import Server

CASE = "download"
FIRST = "first byte of 64 KiB"
_FIRST_BYTES = 64 * KIB
_FIRSTS = 20
_REQUESTS = "blobd_s3_request_duration_seconds_count"
_OPERATIONS = ("get", "head", "list", "list_parts", "put")


def run(plan: Plan, journal: Journal, site: Site, source: Path) -> None:
    """Let both fetch the same object, in turn; then small ones that nobody has asked for yet."""
    body = bodies(source, plan.large_bytes, 1)[0]
    small = bodies(source, _FIRST_BYTES, _FIRSTS)
    with site.blobd() as server:
        employ("bench.senders", [[each.errand(server, "put") for each in small]])
        small_keys = site.bucket.keys("objects/")
        employ("bench.senders", [[body.errand(server, "put")]])
        (large_key,) = set(site.bucket.keys("objects/")) - set(small_keys)
        for number in range(plan.rounds):
            journal.progress(f"s3 download {number + 1}/{plan.rounds}")
            _by_blobd(journal, site, server, body)
            _by_boto(journal, site, large_key, body)
    journal.progress("s3 first byte")
    with site.blobd() as fresh:
        for each in small:
            _begin_by_blobd(journal, fresh, each)
    errands = [site.errand("begin", key, source) for key in small_keys]
    for result in employ("bench.s3.boto", [errands]).results:
        took_ms = (result["end_s"] - result["start_s"]) * 1000
        journal.note(Key("s3", FIRST, BOTO, metric.FIRST_BYTE), took_ms)


def _by_blobd(journal: Journal, site: Site, server: Server, body: Body) -> None:
    engine_s, cpu_s = site.engine_cpu_s(), server.cpu_s()
    errand = Errand(HOST, server.port, server.blob(body.digest))
    result = employ("bench.receivers", [[errand]]).results[0]
    time.sleep(0.05)
    engine_s, cpu_s = site.engine_cpu_s() - engine_s, server.cpu_s() - cpu_s
    wall_s = result["end_s"] - result["start_s"]
    _note(journal, server.name, body.length_bytes, wall_s, cpu_s, engine_s)


def _by_boto(journal: Journal, site: Site, key: str, body: Body) -> None:
    engine_s = site.engine_cpu_s()
    result = employ("bench.s3.boto", [[site.errand("download", key, body.source)]]).results[0]
    engine_s = site.engine_cpu_s() - engine_s
    wall_s = result["end_s"] - result["start_s"]
    _note(journal, BOTO, body.length_bytes, wall_s, result["cpu_s"], engine_s)


def _note(
    journal: Journal, name: str, size_bytes: int, wall_s: float, cpu_s: float, engine_s: float
) -> None:
    journal.note(Key("s3", CASE, name, metric.SPEED), size_bytes / MIB / wall_s)
    journal.note(Key("s3", CASE, name, metric.CPU), cpu_s / size_bytes * GIB)
    journal.note(Key("s3", CASE, name, metric.ENGINE), engine_s / size_bytes * GIB)


def _begin_by_blobd(journal: Journal, server: Server, body: Body) -> None:
    """Fetch a blob whose record this daemon has never read."""
    before = _asked(server)
    errand = Errand(HOST, server.port, server.blob(body.digest))
    result = employ("bench.receivers", [[errand]]).results[0]
    asked = _asked(server) - before
    took_ms = (result["first_byte_s"] - result["start_s"]) * 1000
    journal.note(Key("s3", FIRST, server.name, metric.FIRST_BYTE), took_ms)
    journal.note(Key("s3", FIRST, server.name, metric.REQUESTS), asked)


def _asked(server: Server) -> float:
    """Return how often the engine was asked for anything."""
    return sum(read_metric(server, _REQUESTS, operation=name) for name in _OPERATIONS)
