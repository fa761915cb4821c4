"""Scrubbing: every blob is read and hashed; what is wrong is quarantined, on every backend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from blobd.digest import Span
from blobd.errors import BlobCorrupt, Refused
from blobd.references.integrity import read_blob
from blobd.references.quarantine import Damage, Quarantine
from blobd.references.scrub import Scrub
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.store import BlobStore
from tests.backends.acts import off_loop, read
from tests.backends.s3_site import PREFIX, S3Site
from tests.backends.sites import FilesystemSite, MemorySite
from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.engines.every import SEAWEEDFS
from tests.registry.acts import APP, push
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from blobd.database import Catalog
    from blobd.digest import Digest
    from blobd.metrics import Metrics
    from tests.backends.sites import Site
    from tests.engines.every import Engines
    from tests.registry.acts import Clock

DATA = b"a layer of some bytes"
FLIPPED = b"a layer of sOme bytes"
RATE = float("inf")


@pytest.fixture(params=["memory", "filesystem", SEAWEEDFS])
def site(request: pytest.FixtureRequest, tmp_path: Path, engines: Engines) -> Site:
    if request.param == "memory":
        return MemorySite()
    if request.param == "filesystem":
        return FilesystemSite(tmp_path, durable=False)
    engine = engines.get(request.param)
    return S3Site(engine.make_bucket(), part_size_bytes=engine.least_part_bytes)


@pytest.fixture
async def store(site: Site, metrics: Metrics) -> AsyncIterator[BlobStore]:
    backend = await off_loop(site.open)
    yield BlobStore(backend, metrics)
    await backend.aclose()


@pytest.fixture
def scrub(catalog: Catalog, store: BlobStore, metrics: Metrics) -> Scrub:
    return made(catalog, store, metrics)


def made(catalog: Catalog, store: BlobStore, metrics: Metrics) -> Scrub:
    return Scrub(catalog, store, Quarantine(catalog, store, metrics), metrics)


def harm(site: Site, digest: Digest) -> None:
    """Replace stored bytes by as many others, where they lie."""
    if isinstance(site, S3Site):
        record = json.loads(site.bucket.read(site._index(digest)) or b"")
        site.bucket.write(PREFIX + record["segments"][0][0], FLIPPED)
    else:
        if isinstance(site, FilesystemSite):
            site.blob_path(digest).chmod(0o600)
        site.plant_blob(digest, FLIPPED)


async def found(scrub: Scrub, older_than_s: float = 0) -> dict[Digest, Damage | None]:
    run = scrub.run(older_than_s=older_than_s, bytes_per_s=RATE)
    return {each.digest: each.damage async for each in run}


async def test_a_flipped_byte_is_found_and_healed_by_a_push(
    catalog: Catalog, store: BlobStore, site: Site, scrub: Scrub, clock: Clock
) -> None:
    """Nothing but reading shows it; whole blobs stay as they are."""
    whole, harmed = await push(catalog, store, b"whole"), await push(catalog, store, DATA)
    clock.advance(1)
    assert await found(scrub) == {whole: None, harmed: None}
    await off_loop(harm, site, harmed)
    clock.advance(10)
    assert await found(scrub) == {whole: None, harmed: Damage.CONTENT}
    assert await ReadQueries(catalog.reader).link(APP, harmed) is None
    assert [info.digest async for info in store.backend.quarantined()] == [harmed]
    clock.advance(10)
    assert await found(scrub) == {whole: None}, "what is quarantined is not read again"
    assert await push(catalog, store, DATA) == harmed
    assert await ReadQueries(catalog.reader).link(APP, harmed) is not None
    clock.advance(10)
    assert await found(scrub) == {whole: None, harmed: None}


async def test_a_blob_that_is_gone_is_found(
    catalog: Catalog, store: BlobStore, scrub: Scrub, clock: Clock
) -> None:
    """Its row is there, its bytes are not."""
    digest = await push(catalog, store, DATA)
    await store.delete(digest)
    clock.advance(1)
    assert await found(scrub) == {digest: Damage.MISSING}
    assert await ReadQueries(catalog.reader).link(APP, digest) is None


async def test_a_scrub_goes_on_where_another_stopped(
    catalog: Catalog, store: BlobStore, metrics: Metrics, clock: Clock
) -> None:
    """Resumable after a restart: what was read is remembered, blob by blob."""
    blobs = {await push(catalog, store, bytes([number]) * 10) for number in range(5)}
    clock.advance(100)
    first = set()
    run = made(catalog, store, metrics).run(older_than_s=50, bytes_per_s=RATE)
    async for each in run:
        first.add(each.digest)
        if len(first) == 2:
            break
    await run.aclose()
    rest = await found(made(catalog, store, metrics), 50)
    assert len(rest) == 3
    assert first | set(rest) == blobs
    assert await found(made(catalog, store, metrics), 50) == {}


async def test_one_process_scrubs_at_a_time(
    catalog: Catalog, store: BlobStore, metrics: Metrics, clock: Clock
) -> None:
    """By a lease; one that a crash left ends by itself."""
    await push(catalog, store, DATA)
    await push(catalog, store, b"more")
    clock.advance(100)
    run = made(catalog, store, metrics).run(older_than_s=50, bytes_per_s=RATE)
    await anext(run)
    with pytest.raises(Refused):
        await found(made(catalog, store, metrics), 50)
    clock.advance(3600)
    assert len(await found(made(catalog, store, metrics), 50)) == 2
    await run.aclose()


async def test_the_age_of_the_oldest_verification_is_known(
    catalog: Catalog, store: BlobStore, scrub: Scrub, clock: Clock
) -> None:
    """A push verifies too."""
    assert await scrub.oldest() == 0
    await push(catalog, store, DATA)
    clock.advance(30)
    await push(catalog, store, b"more")
    assert await scrub.oldest() == 30
    clock.advance(10)
    await found(scrub, 35)
    assert await scrub.oldest() == 10


async def test_a_blob_that_was_committed_again_is_let_be(
    catalog: Catalog, store: BlobStore, metrics: Metrics, clock: Clock
) -> None:
    """What was read is not what is stored now."""
    digest = await push(catalog, store, DATA)
    known = await read_blob(catalog.reader, digest)
    assert known is not None
    clock.advance(1)
    await push(catalog, store, DATA)
    quarantine = Quarantine(catalog, store, metrics)
    assert not await quarantine.put_aside(digest, Damage.CONTENT, verified_at=known.verified_at)
    assert await store.stat(digest) == len(DATA)


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.usefixtures("kind")
def test_the_command_finds_a_flipped_byte_beside_a_daemon(tmp_path: Path) -> None:
    """Exit code 1 and the digest; 0 once it was pushed again."""
    data = tmp_path / "data"
    with Daemon(data, settings={"store.durability": "none"}) as daemon:
        registry = Registry(daemon.registry)
        digest = registry.push("team/app", DATA)
        encoded = digest.removeprefix("sha256:")
        file = data / "blobs" / "sha256" / encoded[:2] / encoded
        file.chmod(0o600)
        file.write_bytes(FLIPPED)
        run = run_blobd("scrub", "--data", data, "--json")
        assert run.returncode == 1, run.stderr
        told = json.loads(run.stdout)
        assert told["damaged"] == [{"digest": digest, "damage": "content"}]
        assert told["read_bytes"] == len(DATA)
        assert registry.get(f"/v2/team/app/blobs/{digest}").status == 404
        registry.push("team/app", DATA)
        assert run_blobd("scrub", "--data", data).returncode == 0
        assert registry.get(f"/v2/team/app/blobs/{digest}").body == DATA


def test_metrics_show_how_old_the_oldest_verification_is(tmp_path: Path) -> None:
    """In the answer of every worker, whichever of them does the jobs."""
    with Daemon(tmp_path / "data", settings={"server.workers": "2"}) as daemon:
        Registry(daemon.registry).push("team/app", DATA)
        for _ in range(8):
            assert daemon.metric("blobd_scrub_oldest_seconds") < 86_400


@pytest.mark.parametrize("site", [SEAWEEDFS], indirect=True)
@pytest.mark.parametrize("left", [DATA[:-1], b""])
async def test_a_shortened_object_is_found_when_it_is_read(
    catalog: Catalog, store: BlobStore, site: Site, metrics: Metrics, left: bytes
) -> None:
    """In a bucket nobody looks before: reading ends in an error, and HEAD says 404 from then on."""
    assert isinstance(site, S3Site)
    digest = await push(catalog, store, DATA)
    body = await off_loop(site.bucket.read, site._index(digest))
    record = json.loads(body or b"")
    await off_loop(site.bucket.write, PREFIX + record["segments"][0][0], left)
    source = await Quarantine(catalog, store, metrics).open(digest)
    with pytest.raises(BlobCorrupt):
        await read(source, Span(0, len(DATA)))
    assert await ReadQueries(catalog.reader).link(APP, digest) is None
    await push(catalog, store, DATA)
    assert await ReadQueries(catalog.reader).link(APP, digest) is not None
    source = await store.open(digest)
    assert await read(source, Span(0, len(DATA))) == DATA
