"""Deleted is hidden and held, restored is whole, forgotten is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, TypeVar

import pytest
from sqlalchemy import insert, select

from blobd.errors import BlobdError, Refused
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.catalog.repositories import make_repository
from blobd.registry.catalog.tables import manifests
from blobd.registry.errors import ManifestUnknown, NameUnknown, NotFound, TooPopular
from blobd.registry.packages.trash import POPULAR_DOWNLOADS, Trash
from tests.backends.acts import digest_of
from tests.registry.acts import asked
from tests.registry.packages.conftest import APP, GRACE_S, RETENTION_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from blobd.database import Transaction
    from blobd.digest import Digest
    from tests.registry.packages.conftest import Shop

T = TypeVar("T")

LAYER = digest_of(b"layer")


async def lapse(shop: Shop, seconds: float) -> int:
    """Let time pass, forget what is overdue, and collect; return how many blobs went."""
    shop.clock.advance(seconds)
    await shop.trash.purge()
    shop.clock.advance(GRACE_S + 1)
    return await shop.collect()


async def test_a_deleted_version_is_hidden_held_and_restored_with_its_tags(shop: Shop) -> None:
    digest = await shop.push("v1", "latest")
    await shop.trash.delete_manifest(APP, digest, shop.ada)
    assert await ReadQueries(shop.catalog.reader).manifest(APP, digest) is None
    assert await shop.tags() == {}
    assert await shop.versions() == []
    (gone,) = await shop.versions(deleted=True)
    assert gone.tags == ("latest", "v1")
    assert await lapse(shop, RETENTION_S - 3 * GRACE_S) == 0
    assert await shop.is_stored(LAYER)
    package_id = (await shop.package()).package_id
    assert await shop.trash.restore_version(package_id, gone.version_id) == ()
    assert await shop.tags() == {"latest": digest, "v1": digest}
    assert await lapse(shop, 2 * RETENTION_S) == 0
    assert await shop.is_stored(LAYER)


async def test_a_tag_that_is_in_use_again_stays_where_it_is(shop: Shop) -> None:
    old = await shop.push("v1", "old", layer=b"one")
    await shop.trash.delete_manifest(APP, old, shop.ada)
    new = await shop.push("v1", layer=b"two")
    (gone,) = await shop.versions(deleted=True)
    package_id = (await shop.package()).package_id
    assert await shop.trash.restore_version(package_id, gone.version_id) == ("v1",)
    assert await shop.tags() == {"v1": new, "old": old}


async def test_pushing_it_again_takes_it_out_of_the_trash(shop: Shop) -> None:
    digest = await shop.push("v1")
    await shop.trash.delete_manifest(APP, digest, shop.ada)
    assert await shop.push("v2") == digest
    (version,) = await shop.versions()
    assert version.tags == ("v2",)
    assert await shop.versions(deleted=True) == []
    assert await lapse(shop, 2 * RETENTION_S) == 0
    assert await shop.tags() == {"v2": digest}


async def test_after_its_time_a_version_is_gone_and_so_are_its_blobs(shop: Shop) -> None:
    digest = await shop.push("v1")
    await shop.push("v2", layer=b"other")
    await shop.trash.delete_manifest(APP, digest, shop.ada)
    (gone,) = await shop.versions(deleted=True)
    package_id = (await shop.package()).package_id
    shop.clock.advance(RETENTION_S + 1)
    with pytest.raises(NotFound):
        await shop.trash.restore_version(package_id, gone.version_id)
    assert await lapse(shop, 0) == 1
    assert not await shop.is_stored(LAYER)
    assert await shop.is_stored(digest_of(b"other"))
    assert await shop.versions(deleted=True) == []
    with pytest.raises(ManifestUnknown):
        await shop.trash.delete_manifest(APP, digest, shop.ada)


async def test_a_deleted_package_comes_back_as_it_was(shop: Shop) -> None:
    digest = await shop.push("v1")
    before = await shop.package()
    await shop.trash.delete_package(before.package_id, shop.ada)
    with pytest.raises(NotFound):
        await shop.package()
    assert await ReadQueries(shop.catalog.reader).manifest(APP, digest) is None
    assert not await ReadQueries(shop.catalog.reader).knows(APP)
    assert await lapse(shop, RETENTION_S - 3 * GRACE_S) == 0
    await shop.trash.restore_package(before.package_id)
    assert await shop.package() == before
    assert await shop.tags() == {"v1": digest}
    with pytest.raises(NotFound):
        await shop.trash.restore_package(before.package_id)


async def test_a_name_that_is_in_use_again_is_not_taken_away(shop: Shop) -> None:
    await shop.push("v1", layer=b"one")
    old = await shop.package()
    await shop.trash.delete_package(old.package_id, shop.ada)
    digest = await shop.push("v1", layer=b"two")
    with pytest.raises(Refused, match="in use again; delete that package first"):
        await shop.trash.restore_package(old.package_id)
    assert await shop.tags() == {"v1": digest}
    await shop.trash.delete_package((await shop.package()).package_id, shop.ada)
    await shop.trash.restore_package(old.package_id)
    assert (await shop.package()).package_id == old.package_id


async def test_after_its_time_a_package_is_gone(shop: Shop) -> None:
    digest = await shop.push("v1")
    other = await shop.push("v2", layer=b"other")
    await shop.trash.delete_manifest(APP, other, shop.ada)
    package = await shop.package()
    await shop.trash.delete_package(package.package_id, shop.ada)
    assert await lapse(shop, RETENTION_S + 1) == 3
    assert not await shop.is_stored(LAYER)
    with pytest.raises(NotFound):
        await shop.trash.restore_package(package.package_id)
    for table in ("packages", "versions", "manifests", "trashed_tags", "tags"):
        assert await asked(shop.catalog, f"SELECT COUNT(*) FROM {table}") == [0]
    assert await shop.push("v1") == digest


async def test_a_package_without_a_version_is_forgotten_with_its_last_blob(shop: Shop) -> None:
    digest = await shop.push("v1")
    await shop.trash.delete_manifest(APP, digest, shop.ada)
    await lapse(shop, RETENTION_S + 1)
    assert (await shop.package()).version_count == 0
    await lapse(shop, 0)
    with pytest.raises(NotFound):
        await shop.package()
    assert await shop.push("v2") == digest
    assert (await shop.package()).version_count == 1


async def test_a_package_whose_first_push_never_ended_is_forgotten(shop: Shop) -> None:
    await shop.push_blob(b"layer alone")
    await lapse(shop, GRACE_S / 2)
    assert (await shop.package()).version_count == 0
    await lapse(shop, GRACE_S)
    await lapse(shop, 0)
    with pytest.raises(NotFound):
        await shop.package()
    assert await asked(shop.catalog, "SELECT COUNT(*) FROM packages") == [0]


async def test_without_a_trash_it_is_gone_at_once(shop: Shop) -> None:
    digest = await shop.push("v1")
    trash = Trash(shop.catalog, 0)
    await trash.delete_manifest(APP, digest, shop.ada)
    assert await shop.versions(deleted=True) == []
    shop.clock.advance(GRACE_S + 1)
    assert await shop.collect() == 2
    await shop.push("v1")
    await trash.delete_package((await shop.package()).package_id, shop.ada)
    with pytest.raises(NotFound):
        await shop.package(deleted=True)


async def test_what_many_use_is_deleted_by_the_administrator_alone(shop: Shop) -> None:
    digest = await shop.push("v1")
    await shop.change(visibility="public")
    package_id = (await shop.package()).package_id
    for downloads, popular in ((POPULAR_DOWNLOADS, False), (POPULAR_DOWNLOADS + 1, True)):
        await asked_to_set_downloads(shop, downloads)
        if not popular:
            await shop.trash.delete_package(package_id, shop.ada)
            await shop.trash.restore_package(package_id)
            continue
        with pytest.raises(TooPopular):
            await shop.trash.delete_package(package_id, shop.ada)
        with pytest.raises(TooPopular):
            await shop.trash.delete_manifest(APP, digest, shop.ada)
    root = replace(shop.ada, is_administrator=True)
    await shop.trash.delete_manifest(APP, digest, root)
    await shop.trash.delete_package(package_id, root)


async def asked_to_set_downloads(shop: Shop, downloads: int) -> None:
    from sqlalchemy import update

    from blobd.registry.catalog.tables import versions

    change = update(versions).values(downloads=downloads)
    await shop.catalog.write(lambda transaction: transaction.execute(change))


async def test_what_is_not_there_cannot_be_deleted(shop: Shop) -> None:
    with pytest.raises(NameUnknown):
        await shop.trash.delete_manifest(APP, LAYER, shop.ada)
    with pytest.raises(NotFound):
        await shop.trash.delete_package(4711, shop.ada)
    with pytest.raises(NotFound):
        await shop.trash.restore_package(4711)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_done_what_can_be_restored_is_whole(shop: Shop, seed: int) -> None:
    """Random pushes, deletes, restores, forgetting and collecting, against a model."""
    random = Random(seed)
    layers = [f"layer {number}".encode() for number in range(4)]
    alive: dict[bytes, Digest] = {}
    trashed: dict[bytes, tuple[Digest, float]] = {}
    for _ in range(60):
        layer = random.choice(layers)
        match random.randrange(6):
            case 0 | 1:
                alive[layer] = await shop.push(layer=layer)
                trashed.pop(layer, None)
            case 2 if layer in alive:
                digest = alive.pop(layer)
                await shop.trash.delete_manifest(APP, digest, shop.ada)
                trashed[layer] = digest, shop.clock()
            case 3 if layer in trashed:
                digest, since = trashed[layer]
                package_id = (await shop.package()).package_id
                version = await shop.version(digest)
                if since >= shop.clock() - RETENTION_S:
                    await shop.trash.restore_version(package_id, version.version_id)
                    alive[layer] = digest
                    del trashed[layer]
            case 4:
                shop.clock.advance(random.choice([GRACE_S, RETENTION_S / 3]))
                await shop.trash.purge()
                trashed = {
                    each: (digest, since)
                    for each, (digest, since) in trashed.items()
                    if since >= shop.clock() - RETENTION_S
                }
            case _:
                await shop.collect()
        for each, digest in alive.items():
            assert await ReadQueries(shop.catalog.reader).manifest(APP, digest) is not None
            assert await shop.is_stored(digest_of(each))
        for each, (digest, _) in trashed.items():
            assert await ReadQueries(shop.catalog.reader).manifest(APP, digest) is None
            assert await shop.is_stored(digest_of(each))
    shop.clock.advance(RETENTION_S + GRACE_S)
    await shop.trash.purge()
    shop.clock.advance(GRACE_S + 1)
    await shop.collect()
    for each in layers:
        assert await shop.is_stored(digest_of(each)) is (each in alive)


async def beside(shop: Shop, work: Callable[[Transaction], object], other: Awaitable[T]) -> T:
    """Return what a call returns that meets a transaction which has done its work, but not ended.

    Raises what the call raises.
    """
    begun, ends = asyncio.Event(), asyncio.Event()

    def hold(transaction: Transaction) -> None:
        work(transaction)
        begun.set()
        transaction.wait(ends.wait)

    async with asyncio.TaskGroup() as group:
        group.create_task(shop.catalog.write(hold, alone=True))
        await begun.wait()
        met = group.create_task(_outcome(other))
        await asyncio.sleep(0.3)  # for it to get as far as it can
        ends.set()
    outcome = met.result()
    if isinstance(outcome, BlobdError):
        raise outcome
    return outcome


async def _outcome(call: Awaitable[T]) -> T | BlobdError:
    try:
        return await call
    except BlobdError as error:
        return error


async def test_a_restore_that_meets_a_push_of_its_name_is_refused(shop: Shop) -> None:
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    await shop.trash.delete_package(package_id, shop.ada)
    with pytest.raises(Refused):
        await beside(
            shop,
            lambda transaction: make_repository(transaction, APP, now=shop.clock()),
            shop.trash.restore_package(package_id),
        )
    gone = await asked(shop.catalog, "SELECT name FROM repositories ORDER BY name")
    assert gone == [f"@deleted/{package_id}", APP]


async def test_a_restore_that_meets_a_push_of_its_version_keeps_it(shop: Shop) -> None:
    digest = await shop.push("v1")
    package_id = (await shop.package()).package_id
    await shop.trash.delete_manifest(APP, digest, shop.ada)
    version = await shop.version(digest)
    again = select(*(c for c in manifests.c if c.name != "repository_id")).limit(1)

    def push_again(transaction: Transaction) -> None:
        row = dict(transaction.execute(again).mappings().one())
        transaction.execute(insert(manifests), row | {"repository_id": package_id})

    restore = shop.trash.restore_version(package_id, version.version_id)
    assert await beside(shop, push_again, restore) == ()
    assert await shop.tags() == {"v1": digest}
    assert await shop.versions(deleted=True) == []
    assert await asked(shop.catalog, "SELECT COUNT(*) FROM manifests") == [1]
