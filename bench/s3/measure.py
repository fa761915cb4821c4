"""blobd on a bucket: against boto3 alone, and against docker-registry's S3 driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.material import write_source
from bench.s3 import commit, download, memory, replicas, upload
from bench.s3.site import engine_of, running_site

if TYPE_CHECKING:
    from bench.journal import Journal
    from bench.plan import Plan


def run(plan: Plan, journal: Journal) -> None:
    """Measure on one engine, which keeps its objects in memory, and one bucket at a time."""
    engine = engine_of(plan)
    if engine is None:
        journal.progress("s3: left out, neither Ceph's gateway nor Swift is installed")
        return
    source = plan.folder / "source"
    write_source(source, plan.large_bytes)
    for measure in (upload.run, commit.run, memory.run, download.run, replicas.run):
        with running_site(engine, plan.folder / "s3") as site:
            measure(plan, journal, site, source)
    source.unlink()
