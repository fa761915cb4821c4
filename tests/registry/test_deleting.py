"""What is being removed cannot be pushed until that is over (promise 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BackendUnavailable
from blobd.references import holds, pins
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.links import RepositoryHolder
from tests.backends.acts import fetch
from tests.registry.acts import APP, OTHER, Clock, asked, push

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.digest import Digest
    from blobd.store import BlobStore

DATA = b"layer"


async def _being_deleted(catalog: Catalog, store: BlobStore) -> Digest:
    """Leave a digest as a collector does that dies while it removes the bytes."""
    digest = await push(catalog, store, DATA)
    await RepositoryHolder(catalog, APP).release(digest)
    assert await catalog.write(
        lambda transaction: holds.mark_deleting(transaction, digest, now=catalog.now())
    )
    return digest


async def _some_polls() -> None:
    await asyncio.sleep(4 * pins._DELETION_POLL_S)


async def test_a_push_waits_for_the_removal_and_brings_the_bytes_back(
    catalog: Catalog, store: BlobStore
) -> None:
    """Promise 11: a removal that comes late finds nothing new to remove."""
    digest = await _being_deleted(catalog, store)
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(push(catalog, store, DATA))
        await _some_polls()
        assert not pushing.done()
        await store.delete(digest)
        await catalog.write(lambda transaction: holds.delete_row(transaction, digest))
    assert await fetch(store.backend, digest) == DATA
    assert await ReadQueries(catalog.reader).link(APP, digest) is not None


async def test_a_collector_that_died_keeps_pushes_waiting_for_a_while_only(
    catalog: Catalog, store: BlobStore, clock: Clock
) -> None:
    """Promise 11: until no removal of its can be under way any more."""
    digest = await _being_deleted(catalog, store)
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(push(catalog, store, DATA, OTHER))
        clock.advance(holds.DELETING_S)
        await _some_polls()
        assert not pushing.done()
        clock.advance(1)
    assert await ReadQueries(catalog.reader).link(OTHER, digest) is not None
    assert await asked(catalog, "SELECT condemned_at FROM blobs") == [None]


async def test_a_push_that_waits_too_long_is_told_to_come_back(
    catalog: Catalog, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After; and no pin is left."""
    monkeypatch.setattr(pins, "_DELETION_WAIT_S", 0)
    await _being_deleted(catalog, store)
    with pytest.raises(BackendUnavailable, match="being removed"):
        await push(catalog, store, DATA)
    assert await asked(catalog, "SELECT nonce FROM pins") == []


async def test_one_collector_at_a_time_marks_a_digest(
    catalog: Catalog, store: BlobStore, clock: Clock
) -> None:
    """Promise 11: the second one may not say that a removal is over which is the first one's."""
    digest = await _being_deleted(catalog, store)

    async def mark() -> bool:
        return await catalog.write(
            lambda transaction: holds.mark_deleting(transaction, digest, now=catalog.now())
        )

    assert not await mark()
    clock.advance(holds.DELETING_S + 1)
    assert await mark()
