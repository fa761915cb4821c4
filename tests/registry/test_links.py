"""What a repository sees, and what keeps it alive (promises 9, 10, 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.digest import Digest
from blobd.errors import BackendUnavailable, BlobNotFound
from blobd.references.collection import collect
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.links import LinkUses, RepositoryHolder, mount
from blobd.registry.names import RepositoryName, Tag
from tests.registry.acts import APP, OTHER, REFERENCES, Clock, image, push, roots_of
from tests.registry.conftest import KINDS, POOLED_KINDS

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.metrics import Metrics
    from blobd.registry.manifests import Manifests
    from blobd.store import BlobStore


@pytest.fixture(scope="module", params=(*KINDS, *POOLED_KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


DAY_S = 86_400
UNKNOWN = Digest("sha256", "ef" * 32)


async def test_a_repository_sees_what_was_pushed_to_it_and_nothing_else(
    catalog: Catalog, store: BlobStore
) -> None:
    """Promise 10: the store has it, the other repository does not."""
    digest = await push(catalog, store, b"layer")
    link = await ReadQueries(catalog.reader).link(APP, digest)
    assert link is not None
    assert link.size_bytes == 5
    assert await ReadQueries(catalog.reader).link(OTHER, digest) is None
    assert not await ReadQueries(catalog.reader).knows(OTHER)


async def test_a_released_blob_is_gone_from_its_repository_at_once(
    catalog: Catalog, store: BlobStore
) -> None:
    """R69; another repository that links it keeps it."""
    digest = await push(catalog, store, b"layer")
    await push(catalog, store, b"layer", OTHER)
    await RepositoryHolder(catalog, APP).release(digest)
    assert await ReadQueries(catalog.reader).link(APP, digest) is None
    assert await ReadQueries(catalog.reader).link(OTHER, digest) is not None
    with pytest.raises(BlobNotFound):
        await RepositoryHolder(catalog, APP).release(digest)


async def test_a_pin_that_is_not_kept_leaves_no_hold(catalog: Catalog) -> None:
    """Promise 9: a push that fails in the middle."""

    async def fail() -> None:
        async with RepositoryHolder(catalog, APP).pin(UNKNOWN):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await ReadQueries(catalog.reader).link(APP, UNKNOWN) is None
    assert not await ReadQueries(catalog.reader).knows(APP), "no repository either"
    assert not await catalog.read(lambda transaction: REFERENCES.has_any(transaction, UNKNOWN))


async def test_a_pin_that_lapsed_cannot_be_kept(
    catalog: Catalog, store: BlobStore, clock: Clock, metrics: Metrics
) -> None:
    """Promise 11: garbage collection took it for a crashed push, and its bytes may be gone."""
    roots = roots_of(catalog, unnamed_link_grace_s=DAY_S)
    async with RepositoryHolder(catalog, APP).pin(UNKNOWN) as pin:
        clock.advance(600 + 3600 + 1)
        assert [verdict.goes async for verdict in collect(roots, store, metrics, dry_run=False)]
        with pytest.raises(BackendUnavailable):
            await pin.keep(5)
    assert await ReadQueries(catalog.reader).link(APP, UNKNOWN) is None


async def test_a_mount_needs_a_source_that_links_the_blob(
    catalog: Catalog, store: BlobStore
) -> None:
    """R41 and promise 10: that the store has it is not enough."""
    digest = await push(catalog, store, b"layer")
    nobody = RepositoryName("team/nobody")
    assert not await mount(catalog, digest, into=OTHER, source=nobody, subject=EVERYONE)
    assert not await mount(catalog, UNKNOWN, into=OTHER, source=APP, subject=EVERYONE)
    assert await ReadQueries(catalog.reader).link(OTHER, digest) is None
    assert not await ReadQueries(catalog.reader).knows(OTHER), (
        "no repository for a mount that failed"
    )
    assert await mount(catalog, digest, into=OTHER, source=APP, subject=EVERYONE)
    link = await ReadQueries(catalog.reader).link(OTHER, digest)
    assert link is not None
    assert link.size_bytes == 5


async def test_a_mount_without_a_source_searches_what_the_caller_may_read(
    catalog: Catalog, store: BlobStore
) -> None:
    """R41: without identities, everything."""
    digest = await push(catalog, store, b"layer")
    assert await mount(catalog, digest, into=OTHER, source=None, subject=EVERYONE)
    assert not await mount(catalog, UNKNOWN, into=OTHER, source=None, subject=EVERYONE)
    assert await ReadQueries(catalog.reader).link(OTHER, digest) is not None


async def test_a_blob_that_only_lies_in_the_store_cannot_be_mounted(
    catalog: Catalog, store: BlobStore
) -> None:
    """Promise 10: released, not collected yet, and yet nobody's to mount."""
    digest = await push(catalog, store, b"layer")
    await RepositoryHolder(catalog, APP).release(digest)
    assert await store.stat(digest) == 5
    assert not await mount(catalog, digest, into=OTHER, source=None, subject=EVERYONE)
    assert not await mount(catalog, digest, into=OTHER, source=APP, subject=EVERYONE)


async def test_a_repository_mounts_what_it_has_already(catalog: Catalog, store: BlobStore) -> None:
    """R41: whatever source the client guesses, the blob can be pulled."""
    digest = await push(catalog, store, b"layer")
    assert await mount(catalog, digest, into=APP, source=OTHER, subject=EVERYONE)


async def _touched_at(catalog: Catalog, digest: Digest) -> float:
    link = await ReadQueries(catalog.reader).link(APP, digest)
    assert link is not None
    return link.touched_at


async def test_a_touch_is_written_beside_the_request_and_at_most_hourly(
    catalog: Catalog, store: BlobStore, clock: Clock
) -> None:
    link_uses = LinkUses(catalog, unnamed_link_grace_s=DAY_S)
    digest = await push(catalog, store, b"layer")
    pushed_at = clock()
    clock.advance(3599)
    await link_uses.use(APP, digest)
    await link_uses.flush()
    assert await _touched_at(catalog, digest) == pushed_at
    clock.advance(1)
    used = await link_uses.use(APP, digest)
    assert used is not None
    assert await _touched_at(catalog, digest) == pushed_at, "not in the request"
    await link_uses.flush()
    assert await _touched_at(catalog, digest) == pushed_at + 3600


async def test_a_link_about_to_lapse_is_touched_in_the_request(
    catalog: Catalog, store: BlobStore, clock: Clock
) -> None:
    """Promise 11: HEAD said it is here, so it stays for the manifest that follows."""
    link_uses = LinkUses(catalog, unnamed_link_grace_s=DAY_S)
    digest = await push(catalog, store, b"layer")
    clock.advance(DAY_S + 1)
    assert await link_uses.use(APP, digest) is not None
    assert await _touched_at(catalog, digest) == clock()


async def test_an_old_link_that_a_manifest_names_is_not_written_in_the_request(
    catalog: Catalog, store: BlobStore, clock: Clock, manifests: Manifests
) -> None:
    """The usual case, an image pushed again after a while."""
    link_uses = LinkUses(catalog, unnamed_link_grace_s=DAY_S)
    digest = await push(catalog, store, b"layer")
    pushed_at = clock()
    await manifests.put(APP, Tag("v1"), content=image(digest), content_type=None)
    clock.advance(100 * DAY_S)
    assert await link_uses.use(APP, digest) is not None
    assert await _touched_at(catalog, digest) == pushed_at


async def test_what_is_not_linked_is_not_touched_into_being(
    catalog: Catalog, store: BlobStore, clock: Clock
) -> None:
    """A touch that comes after the link was released."""
    link_uses = LinkUses(catalog, unnamed_link_grace_s=DAY_S)
    assert await link_uses.use(APP, UNKNOWN) is None
    digest = await push(catalog, store, b"layer")
    clock.advance(2 * 3600)
    await link_uses.use(APP, digest)
    await RepositoryHolder(catalog, APP).release(digest)
    await link_uses.flush()
    assert await ReadQueries(catalog.reader).link(APP, digest) is None


async def test_the_last_touches_are_written_when_the_server_stops(
    catalog: Catalog, store: BlobStore, clock: Clock
) -> None:
    """A restart loses no touch."""
    link_uses = LinkUses(catalog, unnamed_link_grace_s=DAY_S)
    digest = await push(catalog, store, b"layer")
    clock.advance(2 * 3600)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(link_uses.run())
        await link_uses.use(APP, digest)
        await asyncio.sleep(0)
        writing.cancel()
    assert await _touched_at(catalog, digest) == clock()
