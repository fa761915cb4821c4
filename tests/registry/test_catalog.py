"""The catalog: transactions, what is seen of them and what survives (promises 3 and 9)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory

from blobd.config import Catalog as CatalogConfig
from blobd.config import Config, Store
from blobd.database import catalog_place, open_catalog
from blobd.database.migrate import HEAD
from blobd.database.opening import Server
from blobd.digest import Digest
from blobd.errors import ConfigInvalid
from blobd.references import holds
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.links import RepositoryHolder
from tests.backends.acts import off_loop
from tests.cancellation import cancel_at_each_checkpoint
from tests.registry.acts import APP, BLOB, OTHER, REFERENCES, asked, link
from tests.registry.conftest import KINDS, POOLED_KINDS
from tests.registry.processes import worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from blobd.database import Catalog, Transaction


@pytest.fixture(scope="module", params=(*KINDS, *POOLED_KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_the_last_migration_is_the_one_that_spares_the_others() -> None:
    """A start that finds the tables at HEAD does nothing; HEAD is where the migrations end."""
    config = AlembicConfig()
    config.set_main_option("script_location", "blobd.database:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_catalog_lies_beside_the_blobs_unless_told_otherwise() -> None:
    """Design section 6."""
    assert catalog_place(Config(store=Store(path="/data"))) == Path("/data/catalog.sqlite")
    elsewhere = Config(catalog=CatalogConfig(url="sqlite:////fast/names.sqlite"))
    assert catalog_place(elsewhere) == Path("/fast/names.sqlite")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_server_is_named_as_everybody_names_it(scheme: str) -> None:
    """In libpq's form or SQLAlchemy's; `repr` hides the password."""
    place = catalog_place(Config(catalog=CatalogConfig(url=f"{scheme}://user:secret@host/db")))
    assert place == Server("postgresql://user:secret@host/db")
    assert "secret" not in repr(place)


@pytest.mark.parametrize("url", ["secret", "sqlite://", "sqlite:///:memory:", "mysql://secret@a"])
def test_another_database_is_refused_by_name(url: str) -> None:
    """The message does not repeat the URL, which may hold a password."""
    with pytest.raises(ConfigInvalid, match=r"catalog\.url") as refusal:
        catalog_place(Config(catalog=CatalogConfig(url=url)))
    assert "secret" not in str(refusal.value)


async def test_a_write_that_raises_is_undone(catalog: Catalog) -> None:
    """Promise 9."""

    def fail_half_way(transaction: Transaction) -> None:
        holds.insert_pin(transaction, BLOB, "nonce", now=catalog.now())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await catalog.write(fail_half_way)
    assert await asked(catalog, "SELECT digest FROM blobs") == []


async def test_a_write_may_wait_for_the_event_loop(catalog: Catalog) -> None:
    """Promise 11: bytes go while the row is taken; and an error there undoes the write."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    def write(transaction: Transaction) -> None:
        holds.insert_pin(transaction, BLOB, "nonce", now=catalog.now())
        transaction.wait(fail)

    with pytest.raises(ZeroDivisionError):
        await catalog.write(write, alone=True)
    assert await asked(catalog, "SELECT digest FROM blobs") == []


async def test_a_read_has_a_single_moment_in_view(catalog: Catalog) -> None:
    """A page of referrers is weighed and read by two queries, which have to agree."""

    def read(transaction: Transaction) -> tuple[bool, bool]:
        before = REFERENCES.has_any(transaction, BLOB)
        transaction.wait(lambda: link(catalog, BLOB))
        return before, REFERENCES.has_any(transaction, BLOB)

    assert await catalog.read(read) == (False, False)
    assert await catalog.read(lambda transaction: REFERENCES.has_any(transaction, BLOB))


async def test_what_was_written_is_seen_by_every_process_at_once(
    catalog: Catalog, place: Path | Server
) -> None:
    """Nothing is cached across requests: the hot reads of a second opener agree."""
    async with open_catalog(place, durable=False) as other:
        assert await ReadQueries(other.reader).link(APP, BLOB) is None
        await link(catalog, BLOB)
        assert await ReadQueries(other.reader).link(APP, BLOB) is not None
        await RepositoryHolder(other, APP).release(BLOB)
        assert await ReadQueries(catalog.reader).link(APP, BLOB) is None


async def test_writers_of_one_process_take_turns(catalog: Catalog) -> None:
    """Many at once: none fails for the others."""
    digests = [Digest("sha256", f"{number:064x}") for number in range(40)]
    async with asyncio.TaskGroup() as group:
        for digest in digests:
            group.create_task(link(catalog, digest))
    for digest in digests:
        assert await ReadQueries(catalog.reader).link(APP, digest) is not None


async def test_an_acknowledged_link_survives_a_kill(tmp_path: Path, place: Path | Server) -> None:
    """Promise 3: its bytes are there too."""
    acknowledged: list[str] = []
    for round_number in range(5):
        async with worker("push", tmp_path, place) as pusher:
            await pusher.start()
            acknowledged += [await pusher.line() for _ in range(2 + 3 * round_number)]
            acknowledged += await pusher.kill()
    async with open_catalog(place, durable=False) as catalog:
        for name in acknowledged:
            digest = Digest.parse(name)
            assert await ReadQueries(catalog.reader).link(APP, digest) is not None
            assert await off_loop((tmp_path / "blobs/sha256" / name[7:9] / name[7:]).is_file)


async def test_processes_that_open_at_once_all_do(tmp_path: Path, place: Path | Server) -> None:
    """Only one of them migrates."""
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(worker("open", tmp_path, place)) for _ in range(4)
        ]
        for each in workers:
            await each.start()
        assert [await each.line() for each in workers] == ["opened"] * 4


async def test_a_transaction_cancelled_anywhere_is_done_or_undone(
    fresh_place: Callable[[], Path | Server],
) -> None:
    """Promise 9: no lock, connection or thread is left behind, and the next one works."""

    @asynccontextmanager
    async def linking() -> AsyncIterator[Callable[[], Awaitable[object]]]:
        place = await off_loop(fresh_place)
        async with open_catalog(place, durable=False) as catalog:
            await link(catalog, BLOB)
            holder = RepositoryHolder(catalog, OTHER)

            async def call() -> None:
                async with holder.pin(BLOB) as pin:
                    await pin.keep(7)

            yield call
            assert await asked(catalog, "SELECT nonce FROM pins") == []
            await link(catalog, BLOB)
            await call()

    assert await cancel_at_each_checkpoint(linking) >= 2
