"""BlobStore: what is written once over every backend (promises 1, 10, 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.backends.memory import Memory
from blobd.digest import Digest
from blobd.errors import BackendUnavailable, BlobNotFound
from blobd.metrics import Metrics
from blobd.store import BlobStore
from tests.backends.acts import digest_of, read, staged
from tests.core.hall import Ledger

if TYPE_CHECKING:
    from blobd.store import BlobHolder

DATA = b"some bytes"
DIGEST = digest_of(DATA)


@pytest.fixture
def store() -> BlobStore:
    return BlobStore(Memory(), Metrics())


def sample(store: BlobStore, name: str) -> float:
    return store._metrics.registry.get_sample_value(f"blobd_{name}") or 0


async def commit(store: BlobStore, holder: BlobHolder) -> bool:
    async with staged(store.backend) as staging:
        await staging.append([DATA])
        committed = await store.commit(staging, DIGEST, holder)
    assert (committed.digest, committed.size_bytes) == (DIGEST, len(DATA))
    return committed.replaced


async def test_a_committed_blob_is_read_and_listed(store: BlobStore) -> None:
    """Promise 1."""
    assert not await commit(store, Ledger(store))
    assert await store.stat(DIGEST) == len(DATA)
    source = await store.open(DIGEST)
    assert await read(source) == DATA
    await source.aclose()
    assert [info.digest async for info in store.blobs()] == [DIGEST]
    assert [info.digest async for info in store.blobs(after=DIGEST)] == []


@pytest.mark.parametrize("digest", [digest_of(b"absent"), Digest("md5", "0" * 32)])
async def test_what_is_not_there_or_cannot_be_is_not_found(
    store: BlobStore, digest: Digest
) -> None:
    """Promise 2; an algorithm that blobd cannot compute names no blob of its."""
    with pytest.raises(BlobNotFound):
        await store.stat(digest)
    with pytest.raises(BlobNotFound):
        await store.open(digest)
    with pytest.raises(BlobNotFound):
        await store.delete(digest)


async def test_a_blob_stored_twice_is_stored_once(store: BlobStore) -> None:
    """Section 5, Commit: dedup drops the older copy, and is counted."""
    holder = Ledger(store)
    assert not await commit(store, holder)
    assert await commit(store, holder)
    assert sample(store, "dedup_hits_total") == 1
    assert sample(store, "dedup_saved_bytes_total") == len(DATA)
    assert sample(store, "commit_duration_seconds_count") == 2


async def test_a_commit_pins_publishes_and_holds_in_this_order(store: BlobStore) -> None:
    """Promise 11."""
    ledger = Ledger(store)
    await commit(store, ledger)
    assert ledger.events == ["pinned", "held", "unpinned"]
    await commit(store, ledger)
    assert ledger.events[3:] == ["pinned over a blob", "held", "unpinned"]


async def test_a_hold_that_fails_leaves_no_hold_and_no_pin(store: BlobStore) -> None:
    """BlobStore.commit: raises what the holder raises; the bytes are garbage to collect."""
    ledger = Ledger(store, refuses=BackendUnavailable("the catalog is away"))
    with pytest.raises(BackendUnavailable):
        await commit(store, ledger)
    assert ledger.held == {}
    assert ledger.events == ["pinned", "unpinned"]
    assert await store.stat(DIGEST) == len(DATA)


async def test_deleting_frees_bytes_and_counts_them(store: BlobStore) -> None:
    """BlobStore.delete."""
    await commit(store, Ledger(store))
    assert await store.delete(DIGEST) == len(DATA)
    assert sample(store, "deleted_bytes_total") == len(DATA)
