"""The catalog in an SQLite file: migrations, and the trouble that files have."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from blobd.database import open_catalog
from blobd.database.sqlite import catalog as sqlite_catalog
from blobd.database.sqlite.migrate import migrate
from blobd.digest import Digest
from blobd.errors import BackendUnavailable, ConfigInvalid, StorageFull
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.catalog.tables import metadata
from tests.backends.acts import off_loop
from tests.registry.acts import APP, BLOB, link

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.database import Catalog, Transaction


@pytest.fixture
def kind() -> str:
    """SQLite alone."""
    return "sqlite"


def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    """Tables and history are written down twice; this keeps them the same."""
    migrate(tmp_path / "catalog.sqlite", durable=False)
    database = create_engine(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
    database.dispose()


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
    """In one clear line."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        migrate(tmp_path / "file" / "catalog.sqlite", durable=False)


async def test_hot_reads_do_not_keep_the_log_from_being_folded_in(
    catalog: Catalog, place: Path
) -> None:
    """An unfinished statement would let the write-ahead log grow without end."""
    await link(catalog, BLOB)
    assert await ReadQueries(catalog.reader).link(APP, BLOB) is not None
    assert await ReadQueries(catalog.reader).knows(APP)

    def fold_in() -> tuple[int, int, int]:
        with closing(sqlite3.connect(place)) as connection:
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
                await link(catalog, BLOB)
            assert await ReadQueries(catalog.reader).link(APP, BLOB) is None, "reads go on"
            await off_loop(other.rollback)
            await link(catalog, BLOB)


async def test_a_full_disk_is_told_as_one_and_reads_go_on(catalog: Catalog) -> None:
    """507; the design's table of answers."""
    await link(catalog, BLOB)

    def leave_no_room(transaction: Transaction) -> None:
        pages = transaction.execute(text("PRAGMA page_count")).scalar_one()
        transaction.execute(text(f"PRAGMA max_page_count = {pages}"))

    await catalog.write(leave_no_room)

    async def fill_up() -> None:
        for number in range(1000):
            await link(catalog, Digest("sha256", f"{number:064x}"))

    with pytest.raises(StorageFull):
        await fill_up()
    assert await ReadQueries(catalog.reader).link(APP, BLOB) is not None
