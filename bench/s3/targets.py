"""The targets on S3: ratios to boto3 on the same engine, in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Key
from bench.plan import MIB
from bench.s3 import commit, download, memory, replicas, upload
from bench.s3.site import PART_BYTES, PARTS_IN_FLIGHT
from bench.verdict import Verdict, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.journal import Journal
    from bench.plan import Plan

_ALONE_BYTES = (PARTS_IN_FLIGHT + 2) * PART_BYTES
_MANY_MIB = 400.0


def verdicts(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    """Yield a verdict on every target whose figures this run has."""
    for case, limit in ((upload.CASE, 0.95), (download.CASE, 0.90)):
        ours = Key("s3", case, "blobd", metric.SPEED)
        theirs = Key("s3", case, upload.BOTO, metric.SPEED)
        yield from ratio(journal, f"S3: {case}, of boto3", ours, theirs, limit, at_most=False)
    yield from _commit(plan, journal)
    yield from _memory(plan, journal)
    yield from _first_byte(journal)
    key = Key("s3", replicas.CASE, "blobd", metric.FAILED)
    yield from plain(journal, f"S3: {replicas.CASE}, failed requests", key, 0, "")
    key = Key("s3", replicas.CASE, "blobd", metric.REREAD)
    yield from plain(journal, f"S3: {replicas.CASE}, bytes read again", key, 0, "MiB")
    key = Key("s3", replicas.CASE, "blobd", metric.TAIL)
    text = f"S3: {replicas.CASE}, largest tail fetched"
    yield from plain(journal, text, key, PART_BYTES / MIB, "MiB")


def _commit(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    small, *_, large = map(commit.case_of, plan.s3_commit_sizes_bytes)
    text = f"S3: last byte to 201, {large.partition(', ')[2]}, of {small.partition(', ')[2]}"
    of_large, of_small = (Key("s3", case, "blobd", metric.COMMIT) for case in (large, small))
    yield from ratio(journal, text, of_large, of_small, 1.5)


def _memory(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    for case in memory.ALONE:
        key = Key("s3", case, "blobd", metric.BEYOND)
        yield from plain(journal, f"S3: RSS of {case} beyond idle", key, _ALONE_BYTES / MIB, "MiB")
    crowd = memory.many(plan)
    key = Key("s3", crowd, "blobd", metric.MEMORY)
    yield from plain(journal, f"S3: RSS of {crowd}", key, _MANY_MIB, "MiB")
    finished = journal.median(Key("s3", crowd, "blobd", metric.FINISHED))
    if finished is not None:
        yield Verdict(
            f"S3: of {crowd}, finished", finished, plan.s3_uploads, at_most=False, unit=""
        )


def _first_byte(journal: Journal) -> Iterator[Verdict]:
    key = Key("s3", download.FIRST, "blobd", metric.REQUESTS)
    yield from plain(journal, "S3: engine requests before the first byte", key, 2, "")
    ours = Key("s3", download.FIRST, "blobd", metric.FIRST_BYTE)
    theirs = Key("s3", download.FIRST, upload.BOTO, metric.FIRST_BYTE)
    yield from ratio(journal, "S3: time to the first byte, of boto3's get", ours, theirs, 2.0)
