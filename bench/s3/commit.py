"""From the last body byte to the 201, against size; and how much of it the engine takes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import bodies
from bench.metrics import read_metric
from bench.plan import GIB, MIB
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

    from bench.plan import Plan
    from bench.s3.site import Site

DURATION = "blobd_s3_request_duration_seconds_sum"


def case_of(size_bytes: int) -> str:
    """Return how tables name a size."""
    return f"commit, {size_bytes // MIB:,} MiB"


def run(plan: Plan, journal: Journal, site: Site, source: Path) -> None:
    """Put bodies of growing size, in turn."""
    made = {size: bodies(source, size, 1)[0] for size in plan.s3_commit_sizes_bytes}
    site.warm(max(made))
    with ExitStack() as stack:
        blobd = stack.enter_context(site.blobd())
        registry = stack.enter_context(site.docker_registry())
        for number in range(plan.rounds):
            for size_bytes, body in made.items():
                for server in (blobd, registry):
                    if server is registry and size_bytes > GIB:
                        continue  # minutes of copying
                    case = case_of(size_bytes)
                    journal.progress(f"s3 {case} {number + 1}/{plan.rounds} {server.name}")
                    complete_s = 0.0
                    if server is blobd:
                        complete_s = read_metric(blobd, DURATION, operation="complete")
                    outcome = employ("bench.senders", [[body.errand(server, "put")]])
                    result = outcome.results[0]
                    took_ms = (result["end_s"] - result["last_byte_s"]) * 1000
                    journal.note(Key("s3", case, server.name, metric.COMMIT), took_ms)
                    if server is blobd:
                        now_s = read_metric(blobd, DURATION, operation="complete")
                        key = Key("s3", case, server.name, metric.COMPLETE)
                        journal.note(key, (now_s - complete_s) * 1000)
                    site.settle()
