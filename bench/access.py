"""What identities cost: rates closed against open, token requests, and lists of many packages."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import insert

from bench import journal as metric
from bench.hammers import Errand
from bench.journal import Journal, Key
from bench.plan import KIB, REPOSITORY, Plan
from bench.servers import HOST, Server, running_blobd
from bench.workforce import employ
from blobd.database import open_catalog
from blobd.registry.catalog.tables import manifests as manifest_rows
from blobd.registry.catalog.tables import packages, repositories, tags, versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blobd.database import Catalog, Transaction

_CLIENTS = 4
_BLOBS = 16
_BATCH = 5_000
_LISTS = 25


def run(plan: Plan, journal: Journal) -> None:
    """Measure a closed server beside an open one, in turn."""
    folder = plan.folder / "access"
    closed = {"registry.auth": "true"}
    with (
        running_blobd(folder / "open", workers=1, name="open") as open_to_all,
        running_blobd(folder / "closed", workers=1, name="closed", settings=closed) as guarded,
    ):
        basic = f"Basic {b64encode(f'admin:{guarded.token}'.encode()).decode()}"
        ways = (
            ("open", open_to_all, ""),
            ("closed, token", guarded, basic),
            ("closed, bearer token", guarded, _bearer(guarded, basic)),
        )
        known = {name: _stock(server, shown) for name, server, shown in ways[:2]}
        known[ways[2][0]] = known[ways[1][0]]
        for number in range(plan.rounds):
            for mode in ("head", "get"):
                for name, server, shown in ways:
                    journal.progress(f"access {number + 1}/{plan.rounds} {name}: {mode}")
                    errand = _errand(server, mode, shown, plan.small_s, known[name])
                    _note(journal, server, f"{mode.upper()} 4 KiB", name, errand)
            journal.progress(f"access {number + 1}/{plan.rounds} token requests")
            scope = f"/token?scope=repository:{REPOSITORY}:pull,push"
            errand = _errand(guarded, "get", basic, plan.small_s, (scope,))
            _note(journal, guarded, "token requests", "closed", errand)
        journal.progress(f"access: filling the catalog with {plan.packages:,} packages")
        asyncio.run(_fill(folder / "closed", plan.packages))
        for number in range(plan.rounds):
            journal.progress(f"access {number + 1}/{plan.rounds} lists and pages")
            for case, path in _lists(plan.packages):
                took_ms = [_took_ms(guarded, path, basic) for _ in range(_LISTS)]
                key = Key("access", f"{case}, of {plan.packages:,}", "closed", metric.ANSWER)
                journal.note(key, max(took_ms))


def _lists(count: int) -> Iterator[tuple[str, str]]:
    prefix = "/api/orgs/bench/packages"
    last = min(100, count // 100)
    yield "first page of packages", f"{prefix}?package_type=container&per_page=100"
    yield "100th page of packages", f"{prefix}?package_type=container&per_page=100&page={last}"
    yield "package with versions", f"{prefix}/container/many/versions?per_page=100"
    yield "owner's page", "/packages/bench"
    yield "package's page", "/packages/bench/many"
    yield "catalog", "/v2/_catalog?n=1000"


def _errand(
    server: Server, mode: str, authorization: str, duration_s: float, targets: tuple[str, ...]
) -> Errand:
    return Errand(
        mode=mode,
        host=HOST,
        port=server.port,
        uploads=server.uploads,
        targets=targets,
        size_bytes=4 * KIB,
        duration_s=duration_s,
        keep_alive=True,
        seed=1,
        authorization=authorization,
    )


def _stock(server: Server, authorization: str) -> tuple[str, ...]:
    """Push blobs to read later; return their paths."""
    targets = []
    for seed in range(_BLOBS):
        errand = replace(
            _errand(server, "push", authorization, 60.0, ()), seed=30_000_000 + seed, count_max=1
        )
        outcome = employ("bench.hammers", [[errand]])
        targets.append(server.blob(outcome.results[0]["last_digest"]))
    return tuple(targets)


def _note(journal: Journal, server: Server, case: str, subject: str, errand: Errand) -> None:
    cpu_s = server.cpu_s()
    outcome = employ(
        "bench.hammers", [[replace(errand, seed=client)] for client in range(_CLIENTS)]
    )
    cpu_s = server.cpu_s() - cpu_s
    wall_s = max(r["end_s"] for r in outcome.results) - min(r["start_s"] for r in outcome.results)
    count = sum(result["requests"] for result in outcome.results)
    journal.note(Key("access", case, subject, metric.RATE), count / wall_s)
    journal.note(Key("access", case, subject, metric.CPU_EACH), cpu_s / count * 1e6)


def _bearer(server: Server, basic: str) -> str:
    scope = f"repository:{REPOSITORY}:pull,push"
    document = json.loads(_get(server, f"/token?scope={scope}", basic))
    return f"Bearer {document['token']}"


def _took_ms(server: Server, path: str, authorization: str) -> float:
    start_s = time.monotonic()
    _get(server, path, authorization)
    return (time.monotonic() - start_s) * 1000


def _get(server: Server, path: str, authorization: str) -> bytes:
    request = urllib.request.Request(
        f"http://{HOST}:{server.port}{path}", headers={"Authorization": authorization}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content


async def _fill(folder: Path, count: int) -> None:
    """Write packages beside the server: each with ten versions, and one with a tenth of all."""
    async with open_catalog(folder / "catalog.sqlite", durable=False) as catalog:
        owner_id = await catalog.read(
            lambda transaction: transaction.execute(
                packages.select().with_only_columns(packages.c.owner_id).limit(1)
            ).scalar_one()
        )
        names = [*(f"app-{number:06}" for number in range(count - 1)), "many"]
        for start in range(0, count, _BATCH):
            batch = list(enumerate(names[start : start + _BATCH], 1000 + start))
            await _write(catalog, owner_id, batch)


async def _write(catalog: Catalog, owner_id: int, batch: list[tuple[int, str]]) -> None:
    now = catalog.now()

    def write(transaction: Transaction) -> None:
        some = [(number, name, 1_000 if name == "many" else 9) for number, name in batch]
        transaction.execute(
            insert(repositories),
            [
                {"id": number, "name": f"bench/{name}", "created_at": now}
                for number, name, _ in some
            ],
        )
        transaction.execute(
            insert(packages),
            [
                {
                    "repository_id": number,
                    "owner_id": owner_id,
                    "name": name,
                    "visibility": "private",
                    "inherits": False,
                    "immutable_tags": False,
                    "created_at": now,
                    "updated_at": now,
                    "downloads": 0,
                }
                for number, name, _ in some
            ],
        )
        digests = [
            (number, f"sha256:{number:032x}{each:032x}", each)
            for number, _, each_of in some
            for each in range(each_of)
        ]
        transaction.execute(
            insert(manifest_rows),
            [
                {
                    "repository_id": number,
                    "digest": digest,
                    "media_type": "application/vnd.oci.image.manifest.v1+json",
                    "size_bytes": 2,
                    "pushed_at": now,
                    "content": b"{}",
                }
                for number, digest, _ in digests
            ],
        )
        transaction.execute(
            insert(versions),
            [
                {
                    "repository_id": number,
                    "digest": digest,
                    "platforms": "linux/amd64",
                    "size_bytes": 1,
                    "created_at": now + each,
                    "updated_at": now,
                    "downloads": 0,
                }
                for number, digest, each in digests
            ],
        )
        transaction.execute(
            insert(tags),
            [
                {"repository_id": number, "name": f"v{each}", "digest": digest, "updated_at": now}
                for number, digest, each in digests
            ],
        )

    await catalog.write(write)
