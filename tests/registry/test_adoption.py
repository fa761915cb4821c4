"""What was pushed before there were packages belongs to organisations of its namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from blobd.database import open_catalog
from blobd.database.postgresql import migrate
from blobd.database.postgresql.connections import Route
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.media_types import OCI_MANIFEST
from blobd.registry.names import RepositoryName
from blobd.registry.packages.manage import find_package, list_versions
from tests.registry.acts import BLOB, CONFIG_TYPE, asked, place_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

LONG = f"{'a' * 120}/app"
NAMES = ("acme/app", "acme/more/deep", "plain", LONG)


@pytest.fixture
def old_url(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A database as blobd left it before there were packages."""
    if kind == "sqlite":
        path = tmp_path / "old" / "catalog.sqlite"
        path.parent.mkdir()
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            fill(connection)
        engine.dispose()
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres").create_database()
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "upgrade", lambda connection, **_: fill(connection))
        migrate.migrate(Route(url, pooled=False))
    return url


def fill(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "blobd.database:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "0002")
    for number, name in enumerate(NAMES, 1):
        connection.execute(
            text("INSERT INTO repositories (id, name, created_at) VALUES (:id, :name, :at)"),
            {"id": number, "name": name, "at": 100.0 + number},
        )
        for digest, artifact_type in (
            (str(BLOB), CONFIG_TYPE),
            (f"sha256:{'cd' * 32}", "application/vnd.example.chart"),
        ):
            connection.execute(
                text(
                    "INSERT INTO manifests (repository_id, digest, media_type, size_bytes,"
                    " artifact_type, pushed_at, content)"
                    " VALUES (:id, :digest, :media_type, 2, :artifact_type, :at, :content)"
                ),
                {
                    "id": number,
                    "digest": digest,
                    "media_type": OCI_MANIFEST,
                    "artifact_type": artifact_type,
                    "at": 200.0,
                    "content": b"{}",
                },
            )


async def test_what_was_pushed_before_becomes_packages(old_url: str) -> None:
    async with open_catalog(place_of(old_url), durable=False) as catalog:
        assert await asked(catalog, "SELECT name FROM accounts") == ["acme"]
        for name in ("app", "more/deep"):
            package = await find_package(catalog, "acme", name)
            assert (package.visibility, package.version_count) == ("private", 2)
            found, total = await list_versions(catalog, package.package_id, offset=0, limit=9)
            assert total == 2
            assert {version.artifact_type for version in found} == {
                None,
                "application/vnd.example.chart",
            }
            assert {version.platforms for version in found} == {()}
        # what is in no namespace is a repository, as before
        for name in ("plain", LONG):
            assert await ReadQueries(catalog.reader).knows(RepositoryName(name))
        assert len(await asked(catalog, "SELECT repository_id FROM packages")) == 2
