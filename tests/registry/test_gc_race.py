"""Pushes, mounts, deletes and collections in several processes at once (promise 11)."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from blobd.backends.filesystem.backend import Filesystem
from blobd.database import open_catalog
from blobd.digest import Digest
from blobd.metrics import Metrics
from blobd.references.collection import collect
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.names import RepositoryName
from blobd.store import BlobStore
from tests.backends.acts import fetch, listed, off_loop
from tests.registry.acts import Clock, asked, roots_of
from tests.registry.processes import worker
from tests.registry.workers import SHARED

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.database.opening import Server

PUSHERS = 3
ROUNDS = 120
KILLS = 5
ENDLESS = 1_000_000


async def test_nothing_held_is_lost_and_nothing_unheld_is_left(
    tmp_path: Path, place: Path | Server
) -> None:
    """Promise 11 on real processes: each pusher reads back all it holds after every step."""
    async with AsyncExitStack() as stack:
        pushers = [
            await stack.enter_async_context(worker("race", tmp_path, place, seed, ROUNDS))
            for seed in range(PUSHERS)
        ]
        collectors = [
            await stack.enter_async_context(worker("collect", tmp_path, place)) for _ in range(2)
        ]
        for each in (*collectors, *pushers):
            await each.start()
        held = [await each.rest() for each in pushers]
        went = [int((await each.rest())[-1]) for each in collectors]
    assert sum(went) > 0, "the race was one"

    backend = await off_loop(Filesystem, tmp_path, durable=False)
    store = BlobStore(backend, Metrics())
    async with open_catalog(place, durable=False) as catalog:
        roots = roots_of(catalog, unnamed_link_grace_s=86_400)
        verdicts = [verdict async for verdict in collect(roots, store, Metrics(), dry_run=False)]
        for number, digests in enumerate(held):
            repository = RepositoryName(f"race/number{number}")
            for digest in map(Digest.parse, digests):
                assert await ReadQueries(catalog.reader).link(repository, digest) is not None
                assert await fetch(backend, digest) in SHARED
        everything = {Digest.parse(digest) for digests in held for digest in digests}
        assert set(await listed(backend)) == everything, verdicts
        rows = await asked(catalog, "SELECT digest FROM blobs")
        assert set(rows) == {str(digest) for digest in everything}
    await backend.aclose()


async def test_processes_killed_in_the_middle_lose_nothing_and_leave_nothing(
    tmp_path: Path, place: Path | Server
) -> None:
    """Promises 2, 9 and 11: pushers and collectors die together, again and again."""
    chance = random.Random(7)
    for _ in range(KILLS):
        async with AsyncExitStack() as stack:
            verbs = [("race", seed, ENDLESS) for seed in range(PUSHERS)] + [("collect",)]
            workers = [
                await stack.enter_async_context(worker(verb, tmp_path, place, *numbers))
                for verb, *numbers in verbs
            ]
            for each in workers:
                await each.start()
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            for each in workers:
                await each.kill()

    clock = Clock()
    clock.advance(time.time() - clock())
    backend = await off_loop(Filesystem, tmp_path, durable=False)
    store = BlobStore(backend, Metrics())
    async with open_catalog(place, durable=False, clock=clock) as catalog:
        linked = set(map(Digest.parse, await asked(catalog, "SELECT digest FROM links")))
        for digest in linked:
            assert await fetch(backend, digest) in SHARED
        roots = roots_of(catalog, unnamed_link_grace_s=86_400)
        clock.advance(600 + 3600 + 1)
        async for _ in collect(roots, store, Metrics(), dry_run=False):
            pass
        by_the_api = set(map(Digest.parse, await asked(catalog, "SELECT digest FROM api_holds")))
        held = linked | by_the_api
        assert set(await listed(backend)) <= held
        assert set(await listed(backend)) >= linked
    await backend.aclose()
