"""After an upgrade, what labels had given away is there as it was, is named once, and is undone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from blobd.database import open_catalog
from blobd.database.postgresql import migrate
from blobd.database.postgresql.connections import Route
from blobd.registry.packages.manage import find_package, list_grants
from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.registry.acts import asked, place_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

ADA, EVE, ACME, BOB = range(101, 105)
EVES, CODE, HERS = 1, 2, 3
ACCOUNTS = ((ADA, "ada", "user"), (EVE, "eve", "user"), (ACME, "acme", "organisation"))
PACKAGES = (
    # owner, name, maker, whether it has a role, source, inherits
    (ADA, "victim", ADA, False, EVES, True),
    (ACME, "later", ADA, False, HERS, False),
    (ACME, "own", ADA, True, CODE, True),
    (ACME, "by-workflow", ADA, False, CODE, True),
    (ACME, "by-hand", ADA, True, CODE, False),
    (ACME, "asked", ADA, True, CODE, True),
    (ADA, "plain", ADA, False, None, False),
    (ACME, "of-a-member", BOB, True, CODE, True),
)
ALL = ["link", "roles", "workflows", "visibility"]
FOUND = {
    "acme/by-hand": ["workflows"],
    "acme/by-workflow": ["visibility"],
    "acme/later": ["link", "workflows"],
    "acme/of-a-member": ALL,
    "acme/own": ["visibility"],
    "ada/victim": ALL,
}


def fill(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "blobd.database:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "0005")

    def insert(table: str, **values: object) -> None:
        columns = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), values)

    for number, name, kind in (*ACCOUNTS, (BOB, "bob", "user")):
        insert("accounts", id=number, name=name, kind=kind, is_administrator=False, created_at=1.0)
    for person, role in ((ADA, "owner"), (BOB, "member")):
        insert("memberships", organisation_id=ACME, account_id=person, role=role)
    for number, owner, name, visibility in (
        (EVES, EVE, "base", "public"),
        (CODE, ACME, "code", "internal"),
        (HERS, EVE, "code", "private"),
    ):
        insert(
            "sources", id=number, owner_id=owner, name=name, visibility=visibility, created_at=1.0
        )
    insert("source_roles", source_id=CODE, grantee_kind="user", grantee_id=BOB, role="read")
    names = {number: name for number, name, _ in ACCOUNTS}
    for number, (owner, name, maker, has_role, source, inherits) in enumerate(PACKAGES, 1):
        insert("repositories", id=number, name=f"{names[owner]}/{name}", created_at=1.0)
        insert(
            "packages",
            repository_id=number,
            owner_id=owner,
            name=name,
            visibility="private",
            source_id=source,
            inherits=inherits,
            immutable_tags=False,
            sparse_indexes=False,
            created_by=maker,
            created_at=1.0,
            updated_at=1.0,
            downloads=0,
        )
        insert(  # without one it would be put into the trash, as soon as a job looks
            "versions",
            id=number,
            repository_id=number,
            digest=f"sha256:{number:064x}",
            platforms="[]",
            size_bytes=1,
            created_at=1.0,
            updated_at=1.0,
            downloads=0,
        )
        if has_role:
            insert(
                "package_roles",
                repository_id=number,
                grantee_kind="user",
                grantee_id=maker,
                role="admin",
            )
    insert("package_grants", repository_id=4, source_id=CODE, kind="automation", role="read")
    for package, action, detail in (
        ("acme/by-hand", "link", "acme/code"),
        ("acme/asked", "link", "acme/code"),
        ("acme/asked", "inherit", "true"),
    ):
        insert("audit", at=1.0, actor="ada", action=action, package=package, detail=detail)


@pytest.fixture
def url(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A database as blobd left it when labels gave rights."""
    if kind == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path}/old.sqlite")
        with engine.begin() as connection:
            fill(connection)
        engine.dispose()
        return f"sqlite:///{tmp_path}/old.sqlite"
    made: str = request.getfixturevalue("postgres").create_database()
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "upgrade", lambda connection, **_: fill(connection))
        migrate.migrate(Route(made, pooled=False))
    return made


async def test_the_upgrade_changes_nobodys_rights(url: str) -> None:
    async with open_catalog(place_of(url), durable=False) as catalog:
        shown = {}
        for owner, name, *_ in PACKAGES:
            account = "ada" if owner == ADA else "acme"
            package = await find_package(catalog, account, name)
            grants = await list_grants(catalog, package.package_id)
            shown[name] = package.visibility, [(grant.kind, grant.role) for grant in grants]
        as_linked = [("automation", "write"), ("environment", "read")]
        assert shown == {
            "victim": ("public", as_linked),
            "later": ("private", as_linked),
            "own": ("internal", as_linked),
            "by-workflow": ("internal", as_linked),
            "by-hand": ("private", as_linked),
            "asked": ("internal", as_linked),
            "plain": ("private", []),
            "of-a-member": ("internal", as_linked),
        }


def test_it_is_named_once_and_undone_on_a_word(url: str, tmp_path: Path) -> None:
    def audit_links(*words: str) -> dict[str, list[str]]:
        options = ("--data", data, "--set", f"catalog.url={url}")
        run = run_blobd("package", "audit-links", *words, *options, "--json")
        assert run.returncode == 0, run.stderr
        return {each["package"]: each["got"].split() for each in json.loads(run.stdout)}

    def logged(daemon: Daemon) -> int:
        return daemon.log().count("blobd package audit-links")

    data = tmp_path / "data"
    with Daemon(data, settings={"catalog.url": url, "registry.auth": "true"}) as daemon:
        assert logged(daemon) == 1
        assert f"{len(FOUND)} packages" in daemon.log()
        daemon.restart()
        assert logged(daemon) == 0
        assert audit_links() == FOUND
        assert audit_links("--keep", "acme/own", "acme/by-hand").keys() == {
            "acme/own",
            "acme/by-hand",
        }
        left = FOUND.keys() - {"acme/own", "acme/by-hand"}
        assert audit_links("--undo").keys() == left
        assert audit_links() == {}


async def test_what_is_undone_is_private_unlinked_and_closed(url: str, tmp_path: Path) -> None:
    options = ("--data", tmp_path, "--set", f"catalog.url={url}")
    assert run_blobd("package", "audit-links", "--undo", *options).returncode == 0
    again = run_blobd("package", "audit-links", "--undo", "ada/victim", *options)
    assert again.returncode == 1
    assert b"of ada/victim" in again.stderr
    async with open_catalog(place_of(url), durable=False) as catalog:
        for account, name, source, has_grants in (
            ("ada", "victim", None, False),
            ("acme", "of-a-member", None, False),
            ("acme", "later", None, False),
            ("acme", "by-workflow", "acme/code", True),
            ("acme", "by-hand", "acme/code", False),
        ):
            package = await find_package(catalog, account, name)
            grants = await list_grants(catalog, package.package_id)
            assert (package.source, package.visibility) == (source, "private"), name
            assert package.inherits is (name == "by-workflow")
            assert bool(grants) is has_grants, name
        # the member's own role is there all the same, and what was asked for stays
        assert await asked(
            catalog, "SELECT grantee_id FROM package_roles WHERE repository_id = 8"
        ) == [BOB]
        assert (await find_package(catalog, "acme", "asked")).visibility == "internal"
        noted = await asked(catalog, "SELECT package FROM audit WHERE action = 'links undone'")
        assert sorted(noted) == sorted(FOUND)
