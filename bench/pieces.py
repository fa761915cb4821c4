"""Many small pieces of a blob in one request, as partial pulls ask for them."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import bodies, write_source
from bench.metrics import read_metric
from bench.plan import MIB
from bench.receivers import Errand
from bench.s3.site import engine_of, running_site
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
    from bench.material import Body
    from bench.plan import Plan
    from bench.s3.site import Site

_COUNTS = (1, 2, 33, 200, 1000)
_PIECE_BYTES = 4096
_EFFORT = 10_000
"""Pieces of one measurement; a request counts as 25 beside its own."""


def run(plan: Plan, journal: Journal) -> None:
    """Measure CPU and rate of requests for 1 to 1,000 pieces, in ascending order, by one client.

    From files, beside others; then from a bucket, with gaps that are skipped and gaps that are not.
    """
    source = plan.folder / "source"
    size_bytes = plan.large_bytes // 8
    write_source(source, size_bytes)
    body = bodies(source, size_bytes, 1)[0]
    _from_files(plan, journal, body)
    engine = engine_of(plan)
    if engine is None:
        journal.progress("pieces: no S3 engine is installed")
    else:
        with running_site(engine, plan.folder / "s3") as site:
            _from_bucket(plan, journal, site, body)
    source.unlink()


def _from_files(plan: Plan, journal: Journal, body: Body) -> None:
    folder = plan.folder / "pieces"
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_blobd(folder / "blobd", workers=1)),
            stack.enter_context(running_docker_registry(folder / "registry")),
            stack.enter_context(running_nginx(folder / "nginx")),
        ]
        servers += [
            stack.enter_context(running_peer(peer, folder / f"peer-{peer[0]}"))
            for peer in plan.peers
        ]
        for server in servers:
            employ("bench.senders", [[body.errand(server, "put")]])
        for number in range(plan.rounds + 1):
            for count in _COUNTS:
                for server in servers:
                    journal.progress(f"pieces {number}/{plan.rounds} {server.name}: {count}")
                    case = f"{count:,} piece{'s' if count > 1 else ''} of 4 KiB"
                    ranges = _spread(body, count)
                    with suppress(RuntimeError):  # of one that does not answer 206: left blank
                        cpu_s, wall_s = _ask(server, body, ranges, _EFFORT // (count + 25))
                        if number:  # the first round warms up
                            _note(journal, case, server.name, cpu_s, wall_s)
        for server in servers:
            server.drop_payload()


def _from_bucket(plan: Plan, journal: Journal, site: Site, body: Body) -> None:
    near, far = _spread(body, 1000), _spread(body, body.length_bytes // (2 * MIB))
    cases = {
        f"{len(near):,} pieces, gaps below 1 MiB": near,
        f"{len(far)} pieces, gaps of 2 MiB": far,
        f"the whole, {body.length_bytes // MIB} MiB": (),
    }
    with site.blobd() as server:
        employ("bench.senders", [[body.errand(server, "put")]])
        for number in range(plan.rounds + 1):
            for case, ranges in cases.items():
                journal.progress(f"pieces {number}/{plan.rounds} from a bucket: {case}")
                before = _engine_requests(server)
                cpu_s, wall_s = _ask(server, body, ranges, 1)
                asked = _engine_requests(server) - before
                if number:
                    _note(journal, case, "blobd on S3", cpu_s, wall_s)
                    journal.note(Key("pieces", case, "blobd on S3", metric.REQUESTS), asked)


def _spread(body: Body, count: int) -> tuple[tuple[int, int], ...]:
    step = body.length_bytes // count
    return tuple((at * step, at * step + _PIECE_BYTES - 1) for at in range(count))


def _ask(
    server: Server, body: Body, ranges: tuple[tuple[int, int], ...], requests: int
) -> tuple[float, float]:
    """Ask for all ranges, so many times; return the CPU and the time of one request, in seconds."""
    errand = Errand(
        HOST,
        server.port,
        server.blob(body.digest),
        ranges,
        requests_for_all=requests if ranges else 0,
    )
    cpu_s = server.cpu_s()
    (times,) = employ("bench.receivers", [[errand]]).results
    time.sleep(0.05)
    cpu_s = server.cpu_s() - cpu_s
    return cpu_s / requests, (times["end_s"] - times["start_s"]) / requests


def _note(journal: Journal, case: str, subject: str, cpu_s: float, wall_s: float) -> None:
    journal.note(Key("pieces", case, subject, metric.CPU_EACH), cpu_s * 1e6)
    journal.note(Key("pieces", case, subject, metric.RATE), 1 / wall_s)


def _engine_requests(server: Server) -> float:
    return read_metric(server, "blobd_s3_request_duration_seconds_count", operation="get")
