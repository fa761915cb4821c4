"""A catalog in a folder of its own, a clock that tests turn, a store; nothing blocks unseen."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
import uvloop
from blockbuster import blockbuster_ctx

from blobd.backends.memory import Memory
from blobd.backends.threads import Threads
from blobd.metrics import Metrics
from blobd.registry.catalog import open_catalog
from blobd.registry.manifests import Manifests
from blobd.store import BlobStore
from tests.daemon import Daemon
from tests.registry.acts import Clock
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from blobd.registry.catalog import Catalog


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, scope="module")
def no_blocking() -> Iterator[None]:
    """Fail what blocks the loop, but for the catalog's reads in microseconds."""
    with blockbuster_ctx("blobd") as watch:
        for name in ("Connection.execute", "Cursor.fetchall"):
            watch.functions[f"sqlite3.{name}"].can_block_in("sqlite/reader.py", "rows")
        for name in ("acquire", "acquire_lock"):  # the end of threads that are idle by then
            lock = watch.functions[f"threading.Lock.{name}"]
            lock.can_block_in("backends/threads.py", "close")
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def catalog(tmp_path: Path, clock: Clock) -> AsyncIterator[Catalog]:
    async with open_catalog(tmp_path / "catalog.sqlite", durable=False, clock=clock) as opened:
        yield opened


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def store(metrics: Metrics) -> BlobStore:
    return BlobStore(Memory(), metrics)


@pytest.fixture
def manifests(catalog: Catalog) -> Iterator[Manifests]:
    threads = Threads(1, "test-manifests")
    yield Manifests(catalog, threads)
    threads.close()


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One `blobd serve` for all tests of the protocol; it must stop well."""
    folder = tmp_path_factory.mktemp("registry")
    with Daemon(folder / "data", settings={"store.durability": "none"}) as daemon:
        yield daemon


@pytest.fixture
def registry(running: Daemon) -> Registry:
    return Registry(running.registry)


@pytest.fixture
def name() -> str:
    """A repository that no other test uses."""
    return f"test/{secrets.token_hex(6)}"
