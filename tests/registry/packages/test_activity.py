"""Downloads, last uses and the audit are gathered and written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BackendUnavailable
from blobd.registry.catalog import audit
from blobd.registry.catalog.audit import Entry
from blobd.registry.packages.activity import INDEX_PULL_S, SETTLE_S, WRITE_S, ActivityRecorder, Pull
from tests.registry.packages.conftest import APP

if TYPE_CHECKING:
    from blobd.digest import Digest
    from tests.registry.packages.conftest import Shop


def pull(shop: Shop, digest: Digest, caller: str = "7@::1", *, is_index: bool = False) -> Pull:
    return Pull(APP, digest, caller, shop.clock(), is_index)


async def downloads(shop: Shop) -> dict[Digest, int]:
    return {version.digest: version.downloads for version in await shop.versions()}


async def test_downloads_are_counted_by_version_and_package(shop: Shop) -> None:
    one, other = await shop.push(layer=b"1"), await shop.push(layer=b"2")
    activity = ActivityRecorder(shop.catalog)
    for digest, times in ((one, 3), (other, 2)):
        for _ in range(times):
            activity.pulled(pull(shop, digest))
    await activity.flush()
    assert await downloads(shop) == {one: 0, other: 0}, "not settled yet"
    shop.clock.advance(10)
    await activity.flush()
    await activity.flush()
    assert await downloads(shop) == {one: 3, other: 2}
    assert (await shop.package()).downloads == 5
    assert (await shop.version(one)).last_pulled_at == shop.clock() - 10


async def test_a_download_waits_for_two_seconds_at_most(shop: Shop) -> None:
    """It is settled at a write in time, and other workers' indexes are written by then."""
    digest = await shop.push("v1")
    activity = ActivityRecorder(shop.catalog)
    activity.pulled(pull(shop, digest))
    for _ in range(int(2.0 // WRITE_S)):
        shop.clock.advance(WRITE_S)
        await activity.flush()
    assert await downloads(shop) == {digest: 1}
    assert WRITE_S < SETTLE_S


async def test_what_an_index_lists_is_no_download_of_its_own(shop: Shop) -> None:
    child, alone = await shop.push(layer=b"1"), await shop.push(layer=b"2")
    index = await shop.push_index(child, tags=["v1"])
    mine, others = ActivityRecorder(shop.catalog), ActivityRecorder(shop.catalog)
    mine.pulled(pull(shop, index, is_index=True))
    shop.clock.advance(1)
    # the child is fetched from another worker, and so is what the index does not list
    others.pulled(pull(shop, child))
    others.pulled(pull(shop, alone))
    others.pulled(pull(shop, child, "8@::1"))
    shop.clock.advance(INDEX_PULL_S)
    others.pulled(pull(shop, child))
    shop.clock.advance(10)
    await mine.flush()
    await others.flush()
    assert await downloads(shop) == {index: 1, child: 2, alone: 1}


async def test_the_audit_is_kept_in_order_and_found_by_package_and_actor(shop: Shop) -> None:
    activity = ActivityRecorder(shop.catalog)
    for number in range(3):
        activity.note(Entry(float(number), "ada", "push", package=str(APP), detail=f"v{number}"))
    digest = await shop.push("v1")
    activity.note(Entry(9.0, "bob", "delete", package="ada/other", digest=digest))
    await activity.flush()
    found = await shop.catalog.read(
        lambda transaction: audit.list_entries(transaction, package=str(APP))
    )
    assert [entry.detail for _, entry in found] == ["v2", "v1", "v0"]
    found = await shop.catalog.read(
        lambda transaction: audit.list_entries(transaction, actor="bob")
    )
    assert [(entry.package, entry.digest) for _, entry in found] == [("ada/other", digest)]


async def test_an_orderly_end_loses_nothing(shop: Shop) -> None:
    digest = await shop.push("v1")
    activity = ActivityRecorder(shop.catalog)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(activity.run())
        await asyncio.sleep(0)
        activity.pulled(pull(shop, digest))
        activity.note(Entry(1.0, "ada", "push"))
        running.cancel()
    assert await downloads(shop) == {digest: 1}
    assert len(await shop.catalog.read(audit.list_entries)) == 1


async def test_what_could_not_be_written_is_written_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await shop.push("v1")
    activity = ActivityRecorder(shop.catalog)
    activity.pulled(pull(shop, digest))
    activity.note(Entry(1.0, "ada", "push"))
    shop.clock.advance(10)

    async def away(*_: object, **__: object) -> None:
        raise BackendUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(shop.catalog, "write", away)
        with pytest.raises(BackendUnavailable):
            await activity.flush()
    await activity.flush()
    assert await downloads(shop) == {digest: 1}
    assert len(await shop.catalog.read(audit.list_entries)) == 1
