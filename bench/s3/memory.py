"""Resident memory while parts are on their way: of one upload, and of many with one budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import journal as metric
from bench import processes
from bench.journal import Journal, Key
from bench.material import bodies
from bench.plan import MIB
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

    from bench.material import Body
    from bench.plan import Plan
    from bench.s3.site import Site

IDLE = "idle"
ALONE = ("one upload alone, PUT", "one upload alone, PATCH")
_MODES = dict(zip(ALONE, ("put", "chunked"), strict=True))


def many(plan: Plan) -> str:
    """Return how tables name the crowd."""
    return f"{plan.s3_uploads} uploads of {plan.s3_upload_bytes // MIB} MiB"


def run(plan: Plan, journal: Journal, site: Site, source: Path) -> None:
    """Measure each case on a fresh daemon, so that none inherits another's memory."""
    one = bodies(source, plan.large_bytes, 1)
    crowd = bodies(source, plan.s3_upload_bytes, plan.s3_uploads)
    for number in range(plan.few_rounds):
        for case in ALONE:
            journal.progress(f"s3 memory {number + 1}: {case}")
            _peak(journal, site, case, one, _MODES[case])
        journal.progress(f"s3 memory {number + 1}: {many(plan)}")
        _peak(journal, site, many(plan), crowd, "chunked")


def _peak(journal: Journal, site: Site, case: str, work: list[Body], mode: str) -> None:
    """Raises RuntimeError unless every upload ends with 201."""
    with site.blobd() as server:
        employ("bench.senders", [[bodies(work[0].source, MIB, 1)[0].errand(server, "put")]])
        idle_bytes = processes.rss_bytes(server.pid)
        outcome = employ("bench.senders", [[body.errand(server, mode) for body in work]])
        peak_bytes = processes.rss_bytes(server.pid, peak=True)
        name = server.name
    site.settle()
    journal.note(Key("s3", IDLE, name, metric.MEMORY), idle_bytes / MIB)
    journal.note(Key("s3", case, name, metric.MEMORY), peak_bytes / MIB)
    journal.note(Key("s3", case, name, metric.BEYOND), (peak_bytes - idle_bytes) / MIB)
    if len(work) > 1:
        journal.note(Key("s3", case, name, metric.FINISHED), len(outcome.results))
