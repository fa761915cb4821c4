"""What a store costs as it grows: HEAD, start-up, and a page of the listing.

The store is made directly: rows in the catalog, and hard links to one small file. What is measured
reads names, sizes and rows, never the bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
import urllib.request
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.hammers import Errand
from bench.journal import Journal, Key
from bench.plan import KIB, REPOSITORY, Plan
from bench.servers import HOST, running_blobd
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

    from bench.servers import Server

_CLIENTS = 2
_SAMPLED = 2000


def run(plan: Plan, journal: Journal) -> None:
    """Make the stores, then measure them in turn; all of them live in memory meanwhile."""
    stores = []
    for count in plan.blob_counts:
        folder = plan.folder / f"growth-{count}"
        journal.progress(f"growth: making a store of {count:,} blobs")
        stores.append((count, folder, make_store(folder, count)))
    for number in range(plan.rounds):
        for count, folder, digests in stores:
            case = f"{count:,} blobs"
            journal.progress(f"growth {number + 1}/{plan.rounds}: {case}")
            with running_blobd(folder, workers=1) as server:
                for name, value in (
                    (metric.START, server.start_s * 1000),
                    (metric.RATE, _head_rate(plan, server, digests)),
                    (metric.LISTING, _listing_ms(server)),
                ):
                    journal.note(Key("growth", case, server.name, name), value)
    for _, folder, _ in stores:
        shutil.rmtree(folder)


def make_store(folder: Path, count: int) -> list[str]:
    """Fill a store with linked blobs that nobody pushed; return some of their digests."""
    with running_blobd(folder, workers=1):
        pass  # makes folders and tables
    names = sorted(hashlib.sha256(b"%d" % number).hexdigest() for number in range(count))
    blobs = folder / "blobs" / "sha256"
    original = folder / "original"
    original.write_bytes(bytes(4 * KIB))
    for prefix in {name[:2] for name in names}:
        (blobs / prefix).mkdir(parents=True, exist_ok=True)
    base = str(blobs)
    for name in names:
        os.link(original, f"{base}/{name[:2]}/{name}")
    now = time.time()
    with sqlite3.connect(folder / "catalog.sqlite") as catalog:
        catalog.execute("PRAGMA synchronous=OFF")
        catalog.execute("INSERT INTO repositories VALUES (1, ?, ?)", (REPOSITORY, now))
        catalog.executemany(
            "INSERT INTO blobs (digest, size_bytes) VALUES (?, ?)",
            ((f"sha256:{name}", 4 * KIB) for name in names),
        )
        catalog.executemany(
            "INSERT INTO links VALUES (1, ?, ?)", ((f"sha256:{name}", now) for name in names)
        )
    catalog.close()
    step = max(1, count // _SAMPLED)
    return [f"sha256:{name}" for name in names[::step]]


def _head_rate(plan: Plan, server: Server, digests: list[str]) -> float:
    errands = [
        Errand(
            mode="head",
            host=HOST,
            port=server.port,
            uploads=server.uploads,
            targets=tuple(server.blob(digest) for digest in digests),
            size_bytes=0,
            duration_s=max(plan.small_s, 1.0),
            keep_alive=True,
            seed=client,
        )
        for client in range(_CLIENTS)
    ]
    outcome = employ("bench.hammers", [[errand] for errand in errands])
    wall_s = max(r["end_s"] for r in outcome.results) - min(r["start_s"] for r in outcome.results)
    count: int = sum(result["requests"] for result in outcome.results)
    return float(count / wall_s)


def _listing_ms(server: Server) -> float:
    """Return how long a page of 1,000 takes from somewhere in the middle."""
    after = f"sha256:{'8' * 64}"
    start_s = time.monotonic()
    url = f"http://{HOST}:{server.api_port}/blobs?limit=1000&after={after}"
    with urllib.request.urlopen(url, timeout=120) as answer:
        json.load(answer)
    return (time.monotonic() - start_s) * 1000
