"""The targets, and whether a run reached them: ratios inside one run, and a few plain limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import fair
from bench import journal as metric
from bench.journal import Key
from bench.plan import GIB, MIB
from bench.s3 import targets as s3
from bench.verdict import TIMES, Verdict, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.journal import Journal
    from bench.plan import Plan

_PUT_1 = "PUT with length, 1 client"
_PUT_4 = "PUT with length, 4 clients"
_HEAD = "HEAD 4 KiB, keep-alive"
_PUSH = "push 4 KiB, keep-alive"
_TWO = "blobd, 2 workers"
_SYNC_ALLOWANCE_MS = 100
_BUDGET_BYTES = 256 * MIB


def verdicts(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    """Yield a verdict on every target whose figures this run has."""
    yield from _ratios(journal)
    yield from _small(journal)
    yield from _commit(plan, journal)
    yield from _resume(journal)
    yield from _memory(plan, journal)
    yield from _growth(plan, journal)
    yield from _fair(journal)
    yield from _access(plan, journal)
    yield from s3.verdicts(plan, journal)


def _ratios(journal: Journal) -> Iterator[Verdict]:
    floor = Key("upload", _PUT_1, "floor", metric.CPU)
    for way, limit in (
        ("PUT with length", 1.15),
        ("PATCH with length", 1.15),
        ("PATCH, 32 KiB chunks", 1.20),
    ):
        key = Key("upload", f"{way}, 1 client", "blobd", metric.CPU)
        yield from ratio(journal, f"upload CPU, {way}, 1 client, of floor", key, floor, limit)
    for way in ("PUT with length", "PATCH with length", "PATCH, 32 KiB chunks"):
        for subject in ("blobd", _TWO):
            key = Key("upload", f"{way}, 4 clients", subject, metric.CPU)
            text = f"upload CPU, {way}, 4 clients, {subject}, of floor"
            yield from ratio(journal, text, key, floor, 1.30)
    floor = Key("upload", _PUT_1, "floor", metric.SPEED)
    one = Key("upload", _PUT_1, "blobd", metric.SPEED)
    four = Key("upload", _PUT_4, _TWO, metric.SPEED)
    registry = Key("upload", _PUT_4, "docker-registry", metric.SPEED)
    yield from ratio(
        journal, "upload throughput, 1 client, of floor", one, floor, 1.05, at_most=False
    )
    yield from ratio(
        journal, "upload throughput, 4 clients, of floor", four, floor, 1.25, at_most=False
    )
    text = "upload throughput, 4 clients, of docker-registry"
    yield from ratio(journal, text, four, registry, 2.0, at_most=False)
    for clients, subject in (("1 client", "blobd"), ("4 clients", _TWO)):
        for name, limit, at_most in ((metric.CPU, 1.10, True), (metric.SPEED, 0.95, False)):
            key = Key("download", f"whole, {clients}", subject, name)
            nginx = Key("download", f"whole, {clients}", "nginx", name)
            what = "CPU" if at_most else "throughput"
            text = f"download {what}, {clients}, of nginx"
            yield from ratio(journal, text, key, nginx, limit, at_most=at_most)
    for subject in ("blobd", _TWO):
        key = Key("upload", "4 clients stream", subject, metric.LAG)
        yield from plain(journal, f"loop lag p99, 4 clients stream, {subject}", key, 5.0, "ms")


def _fair(journal: Journal) -> Iterator[Verdict]:
    key = Key("fair", fair.BESIDE, "blobd", metric.OF_ALONE)
    text = "push p99 of ten accounts beside a greedy one, of alone"
    yield from plain(journal, text, key, 1.5, TIMES)


def _access(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    for mode in ("HEAD", "GET"):
        reference = Key("access", f"{mode} 4 KiB", "open", metric.RATE)
        for way in ("closed, token", "closed, bearer token"):
            key = Key("access", f"{mode} 4 KiB", way, metric.RATE)
            text = f"{mode} rate, {way}, of an open registry"
            yield from ratio(journal, text, key, reference, 0.85, at_most=False)
    key = Key("access", "token requests", "closed", metric.CPU_EACH)
    yield from plain(journal, "CPU of a token request", key, 2_000, "µs")
    for case in (
        "first page of packages",
        "100th page of packages",
        "package with versions",
        "owner's page",
        "package's page",
        "catalog",
    ):
        key = Key("access", f"{case}, of {plan.packages:,}", "closed", metric.ANSWER)
        yield from plain(journal, f"{case}, {plan.packages:,} packages", key, 100, "ms")


def _small(journal: Journal) -> Iterator[Verdict]:
    for case, text, limit in (
        (_HEAD, "HEAD through the registry, keep-alive, of docker-registry", 5.0),
        (_PUSH, "push of 4 KiB blobs, of docker-registry", 3.0),
    ):
        key = Key("small", case, _TWO, metric.RATE)
        registry = Key("small", case, "docker-registry", metric.RATE)
        yield from ratio(journal, text, key, registry, limit, at_most=False)
    for clients in (1, 16):
        case = f"push 4 KiB, full durability, {clients} clients"
        key = Key("small", case, "blobd", metric.SYNCS)
        yield from plain(journal, f"fsyncs per 4 KiB blob, {clients} at once", key, 3.0, "")


def _commit(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    own = journal.median(Key("commit", "fdatasync of 64 MiB", "the disk itself", metric.COMMIT))
    for size_bytes in plan.commit_sizes_bytes:
        case = f"{size_bytes // MIB:,} MiB"
        took = journal.median(Key("commit", case, "blobd", metric.COMMIT))
        if own is not None and took is not None:
            text = f"last byte to 201, {case}, fdatasync of 64 MiB + {_SYNC_ALLOWANCE_MS} ms"
            yield Verdict(text, took, own + _SYNC_ALLOWANCE_MS, at_most=True, unit="ms")


def _resume(journal: Journal) -> Iterator[Verdict]:
    for key in journal.keys:
        if key.part == "resume" and key.metric == metric.WAIT:
            yield from plain(journal, f"{key.case}: first new byte after readiness", key, 100, "ms")
        if key.part == "resume" and key.metric == metric.REREAD:
            yield from plain(journal, f"{key.case}: staged bytes re-read", key, 0, "MiB")


def _memory(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    key = Key("memory", "idle", "blobd", metric.MEMORY)
    yield from plain(journal, "RSS idle, one worker", key, 80, "MiB")
    idle = journal.median(key)
    for count in plan.upload_counts:
        case = f"{count} uploads at once"
        peak = journal.median(Key("memory", case, "blobd", metric.MEMORY))
        if idle is None or peak is None:
            continue
        if count * 12 * MIB <= _BUDGET_BYTES:
            text = f"RSS for each of {count} uploads beyond idle"
            yield Verdict(text, (peak - idle) / count, 12, at_most=True, unit="MiB")
        else:
            text = f"RSS of {count} uploads beyond idle: the budget"
            yield Verdict(text, peak - idle, _BUDGET_BYTES / MIB, at_most=True, unit="MiB")
    whole = f"1 upload of {plan.large_bytes // MIB:,} MiB"
    peak = journal.median(Key("memory", whole, "blobd", metric.MEMORY))
    if idle is not None and peak is not None and plan.large_bytes >= GIB:
        yield Verdict(f"RSS of {whole} beyond idle", peak - idle, 12, at_most=True, unit="MiB")


def _growth(plan: Plan, journal: Journal) -> Iterator[Verdict]:
    few, many = (f"{count:,} blobs" for count in (plan.blob_counts[0], plan.blob_counts[-1]))
    for name, limit, at_most in ((metric.RATE, 0.9, False), (metric.START, 1.1, True)):
        key, first = Key("growth", many, "blobd", name), Key("growth", few, "blobd", name)
        what = "start-up" if at_most else "HEAD rate"
        text = f"{what} at {many}, of that at {few}"
        yield from ratio(journal, text, key, first, limit, at_most=at_most)
