"""The part `s3` of the benchmark: its clients and its site, on the quick engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.journal import COMMIT, FAILED, REREAD, SPEED, TAIL, Journal, Key
from bench.material import write_source
from bench.plan import MIB, Plan, quick_plan
from bench.s3 import commit, replicas, upload
from bench.s3.site import PART_BYTES, Site
from bench.s3.targets import verdicts
from bench.workforce import employ
from tests.engines.every import MOTO

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.s3 import S3Engine

pytestmark = pytest.mark.parametrize("engine", [MOTO], indirect=True)


@pytest.fixture
def site(engine: S3Engine, tmp_path: Path) -> Site:
    return Site(engine, engine.make_bucket(), engine.make_bucket(), tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_source(tmp_path / "source", 2 * PART_BYTES + MIB)
    return tmp_path / "source"


def test_boto3_uploads_and_fetches_what_it_is_told(site: Site, source: Path) -> None:
    """In parts of the size that blobd makes; signed or not, the same bytes arrive."""
    for signed in (True, False):
        orders = [
            site.errand(act, "by-boto3", source, signed=signed)
            for act in ("upload", "download", "begin")
        ]
        assert len(employ("bench.s3.boto", [orders]).results) == 3
        assert site.bucket.read("by-boto3") == source.read_bytes()
    site.settle()
    assert site.bucket.keys() == []


def test_replicas_in_turn_read_nothing_again_but_tails(
    site: Site, source: Path, tmp_path: Path
) -> None:
    """What the benchmark counts is what its targets speak of."""
    plan = replace(quick_plan(Plan(tmp_path, None)), rounds=1, large_bytes=source.stat().st_size)
    journal = Journal(tmp_path / "results.jsonl", {})
    replicas.run(plan, journal, site, source)
    counted = {
        name: journal.median(Key("s3", replicas.CASE, "blobd", name))
        for name in (FAILED, REREAD, TAIL)
    }
    assert (counted[FAILED], counted[REREAD]) == (0, 0)
    assert 0 < (counted[TAIL] or 0) <= PART_BYTES / MIB
    assert all(verdict.reached for verdict in verdicts(plan, journal))


def test_a_verdict_needs_both_figures(tmp_path: Path, engine: S3Engine) -> None:
    """A ratio to what was not measured is none; the commit's is of the largest to the smallest."""
    del engine
    plan = Plan(tmp_path, None)
    journal = Journal(tmp_path / "results.jsonl", {})
    journal.note(Key("s3", upload.CASE, "blobd", SPEED), 100.0)
    assert list(verdicts(plan, journal)) == []
    for took_ms, size_bytes in zip((100.0, 150.0, 200.0), plan.s3_commit_sizes_bytes, strict=True):
        journal.note(Key("s3", commit.case_of(size_bytes), "blobd", COMMIT), took_ms)
    (verdict,) = verdicts(plan, journal)
    assert (verdict.measured, verdict.reached) == (2.0, False)
