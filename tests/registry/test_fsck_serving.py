"""`fsck` beside clients that push, mount and delete, and beside collections: no false alarm."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from blobd.backends.filesystem.backend import Filesystem
from blobd.database.opening import open_catalog
from blobd.metrics import Metrics
from blobd.references.quarantine import Quarantine
from blobd.references.references import open_references
from blobd.registry.catalog.links import LINKS
from blobd.registry.fsck import Fsck
from blobd.store import BlobStore
from tests.daemon import Daemon
from tests.registry.acts import image, url_of
from tests.registry.protocol import Registry, digest_of
from tests.registry.test_gc_serving import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from blobd.database.opening import Server
    from blobd.registry.fsck import Found

CLIENTS = 3
STEPS = 60
_LOOKS_MIN = 10
_COLLECTED_MIN = CLIENTS * STEPS // 6


def test_what_is_under_way_is_no_damage(tmp_path: Path, place: Path | Server) -> None:
    """With repairs, without any grace, and every 20 ms a collection in two daemons."""
    data = tmp_path / "data"
    settings = SETTINGS | {"catalog.url": url_of(place)}
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(data, settings=settings)) for _ in range(2)]
        threads = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        running = [threads.submit(_push_and_delete, number, daemons) for number in range(CLIENTS)]
        backend = Filesystem(data, durable=False)
        looks, found = asyncio.run(
            _look(backend, place, lambda: all(client.done() for client in running))
        )
        for client in running:
            client.result()
        collected = sum(daemon.metric("blobd_collected_blobs_total") for daemon in daemons)
    assert found == []
    assert looks >= _LOOKS_MIN
    assert collected >= _COLLECTED_MIN


def _push_and_delete(number: int, daemons: list[Daemon]) -> None:
    """Push an image of its own again and again, and delete it, with either daemon."""
    name = f"race/number{number}"
    one, other = (Registry(daemon.registry) for daemon in daemons)
    for step in range(STEPS):
        digest = one.push(name, f"{number} {step}".encode())
        manifest = image(digest)
        assert other.put_manifest(name, "v1", manifest).status == 201
        assert one.delete(f"/v2/{name}/manifests/{digest_of(manifest)}").status == 202
        assert other.delete(f"/v2/{name}/blobs/{digest}").status == 202
        one, other = other, one


async def _look(
    backend: Filesystem, place: Path | Server, is_over: Callable[[], bool]
) -> tuple[int, list[Found]]:
    """Compare again and again until it is over; return how often, and what was found."""
    looks, found, metrics = 0, [], Metrics()
    store = BlobStore(backend, metrics)
    async with open_catalog(place, durable=False) as catalog:
        fsck = Fsck(
            catalog,
            await open_references(catalog, [LINKS]),
            store,
            Quarantine(catalog, store, metrics),
            catalog.now,
            grace_s=-1.0,
            repair=True,
            collect_unnamed=True,
        )
        while not is_over():
            found += [each async for each in fsck.run(lambda _: None)]
            looks += 1
    await backend.aclose()
    return looks, found
