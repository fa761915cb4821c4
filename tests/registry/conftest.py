"""A catalog in a folder of its own, a clock that tests turn, a store; nothing blocks unseen."""

from __future__ import annotations

import itertools
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import uvloop
from blockbuster import blockbuster_ctx

from blobd.backends.memory import Memory
from blobd.database import open_catalog
from blobd.database.opening import Server
from blobd.database.postgresql.connections import Route
from blobd.database.postgresql.migrate import migrate
from blobd.metrics import Metrics
from blobd.registry.manifests import Manifests
from blobd.store import BlobStore
from blobd.threads import Threads
from tests.daemon import Daemon
from tests.engines.every import needs_pgbouncer, needs_postgres
from tests.engines.pgbouncer import running_pgbouncer
from tests.registry.acts import Clock
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from blobd.database import Catalog
    from tests.engines.pgbouncer import Pgbouncer
    from tests.engines.postgres import Postgres


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
        for function in watch.functions.values():
            function.can_block_in("postgresql/connections.py", "dial")  # looks for ~/.pgpass
            function.can_block_in("postgresql/migrate.py", "_upgrade")  # on a loop of its own
        for name in ("acquire", "acquire_lock"):  # the end of threads that are idle by then
            lock = watch.functions[f"threading.Lock.{name}"]
            lock.can_block_in("threads.py", "close")
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


KINDS = ("sqlite", pytest.param("postgresql", marks=needs_postgres))
POOLED_KINDS = (
    pytest.param("pgbouncer-session", marks=needs_pgbouncer),
    pytest.param("pgbouncer-transaction", marks=needs_pgbouncer),
)
"""PostgreSQL as well, for modules whose `kind` is parametrized with them."""


@pytest.fixture(scope="package", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The database that the catalog is in; a module of tests for one of them says which."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The URL of a migrated database, for others to be made of."""
    url = postgres.create_database()
    migrate(Route(url, pooled=False))
    return url


@pytest.fixture
def fresh_place(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], Path | Server]]:
    """Makes places without anything in them. Blocks."""
    if kind == "sqlite":
        numbers = itertools.count()
        yield lambda: tmp_path / f"catalog{next(numbers)}" / "catalog.sqlite"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("template")
    with ExitStack() as stack:

        def make() -> Server:
            url = postgres.create_database(template)
            stack.callback(postgres.drop_database, url)
            if kind == "postgresql":
                return Server(url)
            poolers: dict[str, Pgbouncer] = request.getfixturevalue("poolers")
            return Server(poolers[kind].url(url))

        yield make


@pytest.fixture(scope="session")
def poolers(postgres: Postgres) -> Iterator[dict[str, Pgbouncer]]:
    """A running pgbouncer for each mode that blobd works with."""
    with ExitStack() as stack:
        yield {
            f"pgbouncer-{mode}": stack.enter_context(running_pgbouncer(postgres, mode=mode))
            for mode in ("session", "transaction")
        }


@pytest.fixture
def place(fresh_place: Callable[[], Path | Server]) -> Path | Server:
    """Where the test's catalog is."""
    return fresh_place()


@pytest.fixture
async def catalog(place: Path | Server, clock: Clock) -> AsyncIterator[Catalog]:
    async with open_catalog(place, durable=False, clock=clock) as opened:
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
def running(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """One `blobd serve` for all tests of the protocol; it must stop well."""
    settings = {"store.durability": "none"}
    if kind == "postgresql":
        settings["catalog.url"] = request.getfixturevalue("postgres").create_database()
    with Daemon(tmp_path_factory.mktemp("registry") / "data", settings=settings) as daemon:
        yield daemon


@pytest.fixture
def registry(running: Daemon) -> Registry:
    return Registry(running.registry)


@pytest.fixture
def name() -> str:
    """A repository that no other test uses."""
    return f"test/{secrets.token_hex(6)}"
