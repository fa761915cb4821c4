"""`blobd fsck` beside a daemon: each kind of damage made by hand, found, counted, repaired."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from sqlalchemy import text

from blobd.database.opening import open_catalog
from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.engines.every import MOTO, SEAWEEDFS, needs_postgres
from tests.registry.acts import image, index, place_of
from tests.registry.protocol import Registry, digest_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from blobd.database import Transaction
    from tests.engines.every import Engines
    from tests.engines.postgres import Postgres
    from tests.engines.s3 import Bucket

NAME = "works/app"
_LONG_AGO_S = 1_000_000_000


class Site(ABC):
    """Where a store's bytes lie, and hands that do harm there."""

    leftovers: ClassVar[Mapping[str, int]]
    """What `strew` leaves, by kind."""
    forgets_in_s: ClassVar[float] = 0
    """After how long that counts as left behind."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Return what has blobd keep its bytes here."""

    @abstractmethod
    def lose(self, digest: str) -> None:
        """Remove a blob's bytes."""

    @abstractmethod
    def cut(self, digest: str) -> None:
        """Shorten a blob's bytes by one."""

    @abstractmethod
    def plant(self, data: bytes, *, aside: bool) -> None:
        """Store bytes that nobody pushed, as a blob or as a damaged one."""

    @abstractmethod
    def strew(self) -> None:
        """Leave what belongs to nothing."""

    @abstractmethod
    def tidy(self) -> None:
        """Take away by hand what no repair removes."""


class Folder(Site):
    leftovers: ClassVar[Mapping[str, int]] = {"stray": 3, "temporary": 1}

    def __init__(self, data: Path) -> None:
        self._data = data
        self._strays = (
            data / "blobs" / "notes.txt",
            data / "blobs" / "sha256" / "00" / ("f" * 64),
            data / "uploads" / "backup.tar",
        )

    def settings(self) -> dict[str, str]:
        return {}

    def _path(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self._data / "blobs" / algorithm / encoded[:2] / encoded

    def lose(self, digest: str) -> None:
        self._path(digest).unlink()

    def cut(self, digest: str) -> None:
        path = self._path(digest)
        path.chmod(0o600)
        os.truncate(path, path.stat().st_size - 1)

    def plant(self, data: bytes, *, aside: bool) -> None:
        digest = digest_of(data)
        name = digest.replace(":", "-")
        (self._data / "quarantine" / name if aside else self._path(digest)).write_bytes(data)

    def strew(self) -> None:
        for path in self._strays:
            path.write_bytes(b"mine")
        temporary = self._data / "blobs" / f"store.id.{secrets.token_hex(8)}"
        temporary.write_bytes(b"half")
        os.utime(temporary, (_LONG_AGO_S, _LONG_AGO_S))

    def tidy(self) -> None:
        for path in self._strays:
            path.unlink()


class InBucket(Site):
    leftovers: ClassVar[Mapping[str, int]] = {"object": 1}
    forgets_in_s = 2.1  # the lifetime of a redirect, and engines know whole seconds

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def settings(self) -> dict[str, str]:
        return {**self._bucket.settings(), "s3.redirect": "false", "s3.presign_lifetime_s": "1"}

    def _index(self, digest: str) -> str:
        algorithm, _, encoded = digest.partition(":")
        return f"index/{algorithm}/{encoded[:2]}/{encoded}"

    def _object(self, digest: str) -> str:
        record = self._bucket.read(self._index(digest))
        assert record is not None
        return str(json.loads(record)["segments"][0][0])

    def lose(self, digest: str) -> None:
        self._bucket.delete(self._object(digest))

    def cut(self, digest: str) -> None:
        key = self._object(digest)
        data = self._bucket.read(key)
        assert data is not None
        self._bucket.write(key, data[:-1])

    def plant(self, data: bytes, *, aside: bool) -> None:
        key = f"objects/{secrets.token_hex(16)}-{secrets.token_hex(8)}"
        self._bucket.write(key, data)
        record: dict[str, Any] = {"segments": [[key, len(data), True]], "stored_at": 1.0}
        if aside:
            record["quarantined_at"] = 1.0
        self._bucket.write(self._index(digest_of(data)), json.dumps(record).encode())

    def strew(self) -> None:
        self._bucket.write(f"objects/{secrets.token_hex(16)}-{secrets.token_hex(8)}", b"nobody's")

    def tidy(self) -> None:
        pass


@pytest.fixture(params=["folder", MOTO, SEAWEEDFS])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "folder":
        yield Folder(tmp_path / "data")
        return
    engines: Engines = request.getfixturevalue("engines")
    bucket = engines.get(request.param).make_bucket()
    yield InBucket(bucket)
    bucket.clear()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.sqlite"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


class Store:
    """A running daemon, and `blobd fsck` beside it."""

    def __init__(self, daemon: Daemon, settings: Mapping[str, str]) -> None:
        self.registry = Registry(daemon.registry)
        self._data = daemon.data
        self._url = settings["catalog.url"]
        self._settings = {
            f"BLOBD_{name.replace('.', '__').upper()}": value for name, value in settings.items()
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return run_blobd(*words, "--data", self._data, input_bytes=b"", **self._settings)

    def fsck(self, *options: str, code: int) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Return counts by kind, and what was found."""
        run = self.run("fsck", "--json", *options)
        assert run.returncode == code, (run.stdout.decode(), run.stderr.decode())
        document = json.loads(run.stdout)
        return document["counts"], document["found"]

    def sweep(self, site: Site) -> None:
        """Remove what pushes and deletes have replaced, which stays for its readers for a while."""
        time.sleep(site.forgets_in_s)
        counts, found = self.fsck("--repair", code=0)
        assert counts.keys() <= {"replaced"}
        assert all(each["done"] == "removed" for each in found)

    def harm_catalog(self, *statements: str) -> None:
        async def harm() -> None:
            def work(transaction: Transaction) -> None:
                for statement in statements:
                    transaction.execute(text(statement))

            async with open_catalog(place_of(self._url), durable=False) as catalog:
                await catalog.write(work)

        asyncio.run(harm())


@pytest.fixture
def store(site: Site, catalog_url: str, tmp_path: Path) -> Iterator[Store]:
    settings = {
        **site.settings(),
        "catalog.url": catalog_url,
        "store.durability": "none",
        "upkeep.gc_interval_s": "0",
        "upkeep.sweep_interval_s": "0",
        "upkeep.orphan_grace_s": "0",
    }
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        yield Store(daemon, settings)


def test_each_kind_of_damage_is_found_counted_and_repaired(store: Store, site: Site) -> None:
    """All that is stored against all that says so; then one push makes it whole."""
    registry = store.registry
    blobs = {word: f"{word} {'x' * 900}".encode() for word in ("lost", "cut", "never", "torn")}
    digests = {word: registry.push(NAME, data) for word, data in blobs.items()}
    manifest = image(*digests.values())
    assert registry.put_manifest(NAME, "v1", manifest).status == 201
    assert store.fsck(code=0) == ({}, [])

    site.lose(digests["lost"])
    site.cut(digests["cut"])
    site.plant(b"nobody pushed this", aside=False)
    site.plant(b"nobody pushed that", aside=True)
    site.strew()
    store.harm_catalog(
        f"UPDATE blobs SET size_bytes = NULL WHERE digest = '{digests['never']}'",
        f"DELETE FROM links WHERE digest = '{digests['torn']}'",
    )
    time.sleep(site.forgets_in_s)
    expected = {
        "missing": 1,
        "size": 1,
        "link": 1,
        "manifest": 1,
        "unheld": 1,
        "unnamed": 1,
        "aside": 1,
        **site.leftovers,
    }
    counts, found = store.fsck(code=1)
    assert counts == expected
    assert all(each["done"] == "" for each in found)
    names = {each["kind"]: each["name"] for each in found}
    assert names["missing"] == digests["lost"]
    assert names["size"] == digests["cut"]
    assert names["link"] == f"{NAME}@{digests['never']}"
    assert names["manifest"] == f"{NAME}@{digest_of(manifest)} lacks {digests['torn']}"
    assert names["unheld"] == digests["torn"]
    assert names["unnamed"] == digest_of(b"nobody pushed this")
    assert names["aside"] == digest_of(b"nobody pushed that")

    shown = store.run("fsck", "--repair")
    assert shown.returncode == 1
    lines = shown.stdout.decode().splitlines()
    assert f"missing {digests['lost']}, {len(blobs['lost'])} B: quarantined" in lines
    assert f"unheld {digests['torn']}: handed over" in lines
    assert lines[-1] == ", ".join(f"{count} {kind}" for kind, count in sorted(expected.items()))
    for word in ("lost", "cut", "torn"):
        assert registry.head(f"/v2/{NAME}/blobs/{digests[word]}").status == 404
    counts, _ = store.fsck("--repair", "--collect-unnamed", code=1)
    assert counts.keys() >= {"quarantined", "unnamed", "link", "manifest"}
    assert not counts.keys() & {"missing", "size", "unheld", "aside", "temporary", "object"}

    assert store.run("gc").returncode == 0
    for data in blobs.values():
        registry.push(NAME, data)
    site.tidy()
    store.sweep(site)
    assert store.fsck(code=0) == ({}, [])
    for word, data in blobs.items():
        assert registry.get(f"/v2/{NAME}/blobs/{digests[word]}").body == data


def test_what_is_left_over_alone_has_an_exit_code_of_its_own(store: Store, site: Site) -> None:
    """3: nothing that anybody pulls is harmed."""
    site.plant(b"unknown", aside=False)
    counts, found = store.fsck(code=3)
    assert counts == {"unnamed": 1}
    assert found[0]["size_bytes"] == len(b"unknown")
    counts, found = store.fsck("--repair", code=3)
    assert (counts, found[0]["done"]) == ({"unnamed": 1}, "")
    counts, found = store.fsck("--collect-unnamed", code=0)
    assert (counts, found[0]["done"]) == ({"unnamed": 1}, "handed over")
    gone = store.run("gc").stdout.decode()
    assert digest_of(b"unknown") in gone
    store.sweep(site)
    assert store.fsck(code=0) == ({}, [])


def test_what_is_young_is_nobody_s_damage(store: Store, site: Site) -> None:
    """Bytes that power loss left a moment ago, and the push that comes again."""
    if isinstance(site, InBucket):
        pytest.skip("planted records say that they are old")
    site.plant(b"young", aside=False)
    assert store.fsck("--set", "upkeep.orphan_grace_s=3600", code=0) == ({}, [])


def test_an_index_without_what_it_lists_is_no_damage(store: Store) -> None:
    """R68: what was deleted, or was never pushed to a sparse index."""
    child = image(store.registry.push(NAME, b"{}"))
    assert store.registry.put_manifest(NAME, digest_of(child), child).status == 201
    assert store.registry.put_manifest(NAME, "all", index(digest_of(child))).status == 201
    path = f"/v2/{NAME}/manifests/{digest_of(child)}?force=true"
    assert store.registry.delete(path).status == 202
    assert store.fsck(code=0) == ({}, [])
