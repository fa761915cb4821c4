"""The catalog: migrations, transactions, what survives (promises 3 and 9)."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from blobd.config import Catalog as CatalogConfig
from blobd.config import Config, Store
from blobd.digest import Digest
from blobd.errors import BackendUnavailable, ConfigInvalid, StorageFull
from blobd.registry.catalog import catalog_place, holds, open_catalog
from blobd.registry.catalog.migrate import HEAD
from blobd.registry.catalog.sqlite import catalog as sqlite_catalog
from blobd.registry.catalog.sqlite.migrate import migrate
from blobd.registry.catalog.tables import metadata
from blobd.registry.links import RepositoryKeeper
from tests.backends.acts import off_loop
from tests.cancellation import cancel_at_each_checkpoint
from tests.registry.acts import APP, OTHER, asked
from tests.registry.processes import worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from blobd.registry.catalog import Catalog, Transaction

BLOB = Digest("sha256", "ab" * 32)


def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    """Tables and history are written down twice; this keeps them the same."""
    migrate(tmp_path / "catalog.sqlite", durable=False)
    database = create_engine(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
    database.dispose()


def test_the_last_migration_is_the_one_that_spares_the_others() -> None:
    """A start that finds the tables at HEAD does nothing; HEAD is where the migrations end."""
    config = AlembicConfig()
    config.set_main_option("script_location", "blobd.registry.catalog:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_processes_that_start_at_once_on_a_new_folder_all_come_up(tmp_path: Path) -> None:
    """Issue 2, item 6: one migrates, the others wait for it."""
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker("migrate", tmp_path)) for _ in range(4)]
        for each in workers:
            await each.start()
        assert [await each.line() for each in workers] == ["migrated"] * 4


def test_a_kill_in_the_middle_of_a_migration_leaves_nothing_of_it(tmp_path: Path) -> None:
    """All steps are one transaction: the tables of a broken-off one are not there."""
    path = tmp_path / "catalog.sqlite"
    migrate(path, durable=False)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE alembic_version")
    with pytest.raises(ConfigInvalid, match="already exists"):
        migrate(path, durable=False)
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("alembic_version",) not in tables


def test_a_catalog_of_a_newer_blobd_is_refused(tmp_path: Path) -> None:
    """Rather than misread."""
    path = tmp_path / "catalog.sqlite"
    migrate(path, durable=False)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(ConfigInvalid, match="newer blobd"):
        migrate(path, durable=False)


def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    """B9 for the catalog: garbage is not overwritten."""
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigInvalid, match="cannot be used"):
        migrate(path, durable=False)
    assert path.read_bytes() == b"not a database" * 100


def test_a_folder_that_cannot_be_is_told_as_a_setting(tmp_path: Path) -> None:
    """Issue 2, item 2: one clear line."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        migrate(tmp_path / "file" / "catalog.sqlite", durable=False)


def test_the_catalog_lies_beside_the_blobs_unless_told_otherwise() -> None:
    """Design section 6."""
    assert catalog_place(Config(store=Store(path="/data"))) == Path("/data/catalog.sqlite")
    elsewhere = Config(catalog=CatalogConfig(url="sqlite:////fast/names.sqlite"))
    assert catalog_place(elsewhere) == Path("/fast/names.sqlite")


@pytest.mark.parametrize("url", ["secret", "sqlite://", "sqlite:///:memory:", "mysql://secret@a"])
def test_another_database_is_refused_by_name(url: str) -> None:
    """Issue 2, item 2; and the URL, which may hold a password, is not repeated."""
    with pytest.raises(ConfigInvalid, match=r"catalog\.url") as refusal:
        catalog_place(Config(catalog=CatalogConfig(url=url)))
    assert "secret" not in str(refusal.value)


async def _link(catalog: Catalog, digest: Digest) -> None:
    async with RepositoryKeeper(catalog, APP).pin(digest) as pin:
        await pin.keep(7)


async def test_a_write_that_raises_is_undone(catalog: Catalog) -> None:
    """Promise 9."""

    def fail_half_way(transaction: Transaction) -> None:
        holds.insert_pin(transaction, BLOB, "nonce", now=catalog.now())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await catalog.write(fail_half_way)
    assert await asked(catalog, "SELECT digest FROM blobs") == []


async def test_what_was_written_is_seen_by_every_process_at_once(
    catalog: Catalog, tmp_path: Path
) -> None:
    """Nothing is cached across requests: the hot reads of a second opener agree."""
    async with open_catalog(tmp_path / "catalog.sqlite", durable=False) as other:
        assert await other.hot.link(APP, BLOB) is None
        await _link(catalog, BLOB)
        assert await other.hot.link(APP, BLOB) is not None
        await RepositoryKeeper(other, APP).release(BLOB)
        assert await catalog.hot.link(APP, BLOB) is None


async def test_hot_reads_do_not_keep_the_log_from_being_folded_in(
    catalog: Catalog, tmp_path: Path
) -> None:
    """An unfinished statement would let the write-ahead log grow without end."""
    await _link(catalog, BLOB)
    assert await catalog.hot.link(APP, BLOB) is not None
    assert await catalog.hot.knows(APP)

    def fold_in() -> tuple[int, int, int]:
        with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as connection:
            row: tuple[int, int, int] = connection.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchone()
            return row

    assert await off_loop(fold_in) == (0, 0, 0)


async def test_a_catalog_held_by_others_for_too_long_is_trouble_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, not a 500."""
    monkeypatch.setattr(sqlite_catalog, "_BUSY_WAIT_S", 0.05)
    path = tmp_path / "catalog.sqlite"
    async with open_catalog(path, durable=False) as catalog:
        with closing(await off_loop(sqlite3.connect, path, check_same_thread=False)) as other:
            await off_loop(other.execute, "BEGIN IMMEDIATE")
            with pytest.raises(BackendUnavailable):
                await _link(catalog, BLOB)
            assert await catalog.hot.link(APP, BLOB) is None, "reads go on"
            await off_loop(other.rollback)
            await _link(catalog, BLOB)


async def test_a_full_disk_is_told_as_one_and_reads_go_on(catalog: Catalog) -> None:
    """507; the design's table of answers."""
    await _link(catalog, BLOB)

    def leave_no_room(transaction: Transaction) -> None:
        pages = transaction.execute(text("PRAGMA page_count")).scalar_one()
        transaction.execute(text(f"PRAGMA max_page_count = {pages}"))

    await catalog.write(leave_no_room)

    async def fill_up() -> None:
        for number in range(1000):
            await _link(catalog, Digest("sha256", f"{number:064x}"))

    with pytest.raises(StorageFull):
        await fill_up()
    assert await catalog.hot.link(APP, BLOB) is not None


async def test_writers_of_one_process_take_turns(catalog: Catalog) -> None:
    """Many at once: none fails for the others."""
    digests = [Digest("sha256", f"{number:064x}") for number in range(40)]
    async with asyncio.TaskGroup() as group:
        for digest in digests:
            group.create_task(_link(catalog, digest))
    for digest in digests:
        assert await catalog.hot.link(APP, digest) is not None


async def test_an_acknowledged_link_survives_a_kill(tmp_path: Path) -> None:
    """Promise 3: its bytes are there too, and the catalog is sound."""
    acknowledged: list[str] = []
    for round_number in range(5):
        async with worker("push", tmp_path) as pusher:
            await pusher.start()
            acknowledged += [await pusher.line() for _ in range(2 + 3 * round_number)]
            acknowledged += await pusher.kill()
    async with open_catalog(tmp_path / "catalog.sqlite", durable=False) as catalog:
        for name in acknowledged:
            digest = Digest.parse(name)
            assert await catalog.hot.link(APP, digest) is not None
            assert await off_loop((tmp_path / "blobs/sha256" / name[7:9] / name[7:]).is_file)
        assert await asked(catalog, "PRAGMA integrity_check") == ["ok"]


async def test_a_transaction_cancelled_anywhere_is_done_or_undone(tmp_path: Path) -> None:
    """Promise 9: no lock, connection or thread is left behind, and the next one works."""
    count = 0

    @asynccontextmanager
    async def linking() -> AsyncIterator[Callable[[], Awaitable[object]]]:
        nonlocal count
        count += 1
        path = tmp_path / str(count) / "catalog.sqlite"
        async with open_catalog(path, durable=False) as catalog:
            await _link(catalog, BLOB)
            keeper = RepositoryKeeper(catalog, OTHER)

            async def call() -> None:
                async with keeper.pin(BLOB) as pin:
                    await pin.keep(7)

            yield call
            assert await asked(catalog, "SELECT nonce FROM pins") == []
            await _link(catalog, BLOB)
            await call()

    assert await cancel_at_each_checkpoint(linking) >= 2
