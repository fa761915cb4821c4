"""A store knows itself: a catalog without its blobs is refused, and blobs without their catalog."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.engines.moto import Moto
from tests.registry.protocol import OCTETS, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.postgres import Postgres
    from tests.engines.s3 import Bucket


@dataclass
class House:
    """A folder or bucket, a catalog, and what starts on them."""

    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    postgres: Postgres | None = None

    @property
    def on_s3(self) -> bool:
        return "s3.bucket" in self.settings

    def daemon(self) -> Daemon:
        return Daemon(self.data, settings=self.settings)

    def push(self, daemon: Daemon) -> str:
        """Push a blob; return its digest."""
        api, content = Registry(daemon.blob_api_url.removeprefix("http://")), os.urandom(10_000)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        where = api.send("POST", "/uploads").location
        assert api.send("PUT", f"{where}?digest={digest}", content, OCTETS).status == 201
        return digest

    def has(self, daemon: Daemon, digest: str) -> bool:
        api = Registry(daemon.blob_api_url.removeprefix("http://"))
        return api.get(f"/blobs/{digest}").status in {200, 307}

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command on the house; return its exit code and its standard error."""
        listen = ("--listen=127.0.0.1:0", "--blob-api=127.0.0.1:0") if command == ("serve",) else ()
        pairs = [f"--set={name}={value}" for name, value in self.settings.items()]
        run = run_blobd(*command, f"--data={self.data}", *listen, *pairs)
        return run.returncode, run.stderr.decode()

    def refused(self, *, workers_of_starts: tuple[str, ...] = ("1",)) -> str:
        """Return the one line with which the daemon does not start."""
        lines = set()
        for workers in workers_of_starts:
            self.settings["server.workers"] = workers
            code, said = self.run("serve")
            assert code == 2, said
            (line,) = [each for each in said.splitlines() if each.startswith("blobd: ")]
            assert "`blobd adopt-store`" in line
            assert "Traceback" not in said
            lines.add(line)
        (only,) = lines
        return only

    def forget_catalog(self) -> None:
        """Begin with an empty catalog."""
        if self.postgres is not None:
            self.settings["catalog.url"] = self.postgres.create_database()
        for path in self.data.glob("catalog.sqlite*"):
            path.unlink()

    def forget_blobs(self) -> None:
        """Begin with an empty store, as where a volume is not mounted."""
        if self.on_s3:
            self.settings["s3.prefix"] = "elsewhere"
        else:
            shutil.rmtree(self.data / "blobs")
            shutil.rmtree(self.data / "uploads")


@pytest.fixture(
    params=[
        "folder, sqlite",
        pytest.param("folder, postgresql", marks=pytest.mark.needs("postgres")),
        pytest.param("bucket, sqlite", id="bucket, sqlite"),
    ]
)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    made = House(tmp_path / "data")
    if "postgresql" in request.param:
        made.postgres = request.getfixturevalue("postgres")
        made.settings["catalog.url"] = made.postgres.create_database()
    if "bucket" in request.param:
        bucket: Bucket = request.getfixturevalue("engines").get(Moto).make_bucket()
        made.settings |= bucket.settings()
    return made


def test_a_catalog_without_its_blobs_is_refused(house: House) -> None:
    with house.daemon() as daemon:
        digest = house.push(daemon)
    aside = house.data.with_name("aside")
    if not house.on_s3:
        shutil.copytree(house.data / "blobs", aside)
    house.forget_blobs()
    assert "none of the blobs that the catalog names" in house.refused(workers_of_starts=("1", "2"))
    code, said = house.run("gc")
    assert code == 2, "no collector works on it either"
    assert "none of the blobs" in said
    if house.on_s3:
        del house.settings["s3.prefix"]
    else:
        shutil.rmtree(house.data / "blobs")
        shutil.copytree(aside, house.data / "blobs")
    with house.daemon() as daemon:
        assert house.has(daemon, digest), "mounted again, all is as it was"
    house.forget_blobs()
    assert house.run("adopt-store")[0] == 0
    with house.daemon() as daemon:
        assert not house.has(daemon, digest)
        house.push(daemon)


def test_blobs_without_their_catalog_are_refused(house: House) -> None:
    with house.daemon() as daemon:
        digest = house.push(daemon)
    house.forget_catalog()
    assert "belongs to another catalog" in house.refused()
    assert house.run("adopt-store")[0] == 0
    with house.daemon() as daemon:
        assert house.has(daemon, digest)


def test_two_catalogs_on_one_store_are_refused(house: House) -> None:
    """The second one as soon as it comes; the first one once the store was taken over."""
    with house.daemon() as daemon:
        house.push(daemon)
    first = dict(house.settings)
    other = House(house.data.with_name("other"), dict(house.settings), house.postgres)
    if other.on_s3:
        assert "is new to it" in other.refused()
        assert other.run("adopt-store")[0] == 0
    else:
        with House(house.data.with_name("own"), {}, None).daemon():
            pass
        name = house.data.with_name("own") / "catalog.sqlite"
        house.settings["catalog.url"] = f"sqlite:///{name}"
        assert re.search(r"its marker says \w{32}, this catalog belongs to \w{32}", house.refused())
        assert house.run("adopt-store")[0] == 0
    house.settings = first
    assert "belongs to another catalog" in house.refused()


def test_what_is_there_already_is_marked_at_the_next_start(tmp_path: Path) -> None:
    """Stores of before there were markers; also where the first start was cut short."""
    house = House(tmp_path / "data")
    with house.daemon() as daemon:
        digest = house.push(daemon)
    marker = house.data / "blobs" / "store.id"
    store_id = marker.read_text()
    assert re.fullmatch(r"[0-9a-f]{32}\n", store_id)
    marker.unlink()
    with house.daemon() as daemon:
        assert house.has(daemon, digest)
    assert marker.read_text() == store_id, "the catalog knew it"
    marker.unlink()
    with closing(sqlite3.connect(house.data / "catalog.sqlite")) as connection, connection:
        connection.execute("DELETE FROM store")
    with house.daemon() as daemon:
        assert house.has(daemon, digest)
    assert marker.read_text() != store_id
    # as above, with the volume away
    marker.unlink()
    with closing(sqlite3.connect(house.data / "catalog.sqlite")) as connection, connection:
        connection.execute("DELETE FROM store")
    house.forget_blobs()
    assert "none of the blobs" in house.refused()


def test_blobs_without_a_marker_are_not_taken_by_an_empty_catalog(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    with house.daemon() as daemon:
        house.push(daemon)
    (house.data / "blobs" / "store.id").unlink()
    house.forget_catalog()
    assert "has blobs, and the catalog names none" in house.refused()


def test_a_daemon_that_is_empty_starts_again_and_again(house: House) -> None:
    for workers in ("1", "2"):
        house.settings["server.workers"] = workers
        with house.daemon():
            pass
    house.forget_blobs()
    with house.daemon():
        pass
