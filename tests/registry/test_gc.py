"""Garbage collection and the blob API's holds (promise 11)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from blobd.api.holds import API_HOLDS, ApiHolder
from blobd.backends.memory import Memory
from blobd.config import Config
from blobd.database import open_catalog
from blobd.errors import BackendUnavailable, BlobNotFound
from blobd.graces import Graces
from blobd.metrics import Metrics
from blobd.references import holds
from blobd.references.collection import CollectionResult, collect
from blobd.references.references import References, open_references
from blobd.references.roots import Roots
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.links import LinkUses, RepositoryHolder, mount
from blobd.registry.names import Tag
from blobd.store import BlobStore
from tests.backends.acts import digest_of, fetch, off_loop
from tests.cancellation import cancel_at_each_checkpoint
from tests.registry.acts import (
    APP,
    OTHER,
    REFERENCES,
    Clock,
    delete_manifest,
    image,
    push,
    push_as,
    roots_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from blobd.database import Catalog
    from blobd.database.opening import Server
    from blobd.digest import Digest
    from blobd.registry.manifests import Manifests

DAY_S = 86_400
LATEST = Tag("latest")


@pytest.fixture
def roots(catalog: Catalog) -> Roots:
    return roots_of(catalog, unnamed_link_grace_s=DAY_S)


async def _collect(
    roots: Roots, store: BlobStore, *, dry_run: bool = False
) -> list[CollectionResult]:
    return [verdict async for verdict in collect(roots, store, Metrics(), dry_run=dry_run)]


async def _is_stored(store: BlobStore, digest: Digest) -> bool:
    try:
        await store.stat(digest)
    except BlobNotFound:
        return False
    return True


async def test_a_blob_that_nobody_holds_any_more_goes(
    catalog: Catalog, store: BlobStore, roots: Roots
) -> None:
    """Promise 11: and a second run has nothing left to do."""
    digest = await push(catalog, store, b"layer")
    assert await _collect(roots, store) == []
    await RepositoryHolder(catalog, APP).release(digest)
    assert await _is_stored(store, digest), "a delete removes no bytes itself"
    verdicts = await _collect(roots, store)
    assert verdicts == [CollectionResult(digest, 5, goes=True, reasons=("nothing holds it",))]
    assert not await _is_stored(store, digest)
    assert await _collect(roots, store) == []


async def test_what_a_table_of_an_unknown_front_names_stays(
    catalog: Catalog, store: BlobStore
) -> None:
    """Promise 11: links hold in a daemon that has no registry; a hold of its own ends alone."""
    digest = await push(catalog, store, b"layer")
    await catalog.write(lambda transaction: holds.set_hold_ended(transaction, digest, 1))
    references = await open_references(catalog, (API_HOLDS,))
    graces = Graces.of(Config())
    reasons = ("named in the table links of another front",)
    assert await _collect(Roots(catalog, references, graces), store) == [
        CollectionResult(digest, 5, goes=False, reasons=reasons)
    ]
    holder = ApiHolder(catalog, references, store)
    await push_as(holder, store, b"layer")
    await holder.release(digest)
    assert await fetch(store.backend, digest) == b"layer"
    await RepositoryHolder(catalog, APP).release(digest)
    assert [each.goes for each in await _collect(Roots(catalog, references, graces), store)] == [
        True
    ]


async def test_a_reference_that_nobody_knew_of_fails_the_deletion_before_the_bytes(
    catalog: Catalog, store: BlobStore
) -> None:
    """Promise 11: as while a newer blobd, with one table more, is at work on the catalog."""
    digest = await push(catalog, store, b"layer")
    await catalog.write(lambda transaction: holds.set_hold_ended(transaction, digest, 1))
    roots = Roots(catalog, References((API_HOLDS,)), Graces.of(Config()))
    with pytest.raises(IntegrityError):
        await _collect(roots, store)
    assert await fetch(store.backend, digest) == b"layer"
    assert await ReadQueries(catalog.reader).link(APP, digest) is not None


async def test_a_blob_that_somebody_else_links_stays(
    catalog: Catalog, store: BlobStore, roots: Roots
) -> None:
    """Promise 11: and the verdict names who."""
    digest = await push(catalog, store, b"layer")
    await mount(catalog, digest, into=OTHER, source=APP, subject=EVERYONE)
    await RepositoryHolder(catalog, APP).release(digest)
    verdicts = await _collect(roots, store)
    assert verdicts == [CollectionResult(digest, 5, goes=False, reasons=("linked by team/other",))]
    assert await fetch(store.backend, digest) == b"layer"
    assert await _collect(roots, store) == [], "not looked at again until another hold ends"
    await RepositoryHolder(catalog, OTHER).release(digest)
    assert [verdict.goes for verdict in await _collect(roots, store)] == [True]


async def test_a_dry_run_says_the_same_and_does_nothing(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    released = await push(catalog, store, b"released")
    unnamed = await push(catalog, store, b"unnamed")
    shared = await push(catalog, store, b"shared")
    clock.advance(DAY_S + 1)
    await push(catalog, store, b"shared", OTHER)
    for digest in (released, shared):
        await RepositoryHolder(catalog, APP).release(digest)
    foreseen = await _collect(roots, store, dry_run=True)
    assert {verdict.digest: verdict.goes for verdict in foreseen} == {
        released: True,
        unnamed: True,
        shared: False,
    }
    assert await _is_stored(store, released)
    assert await ReadQueries(catalog.reader).link(APP, unnamed) is not None
    assert await _collect(roots, store) == foreseen


async def test_a_blob_being_pushed_stays(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 11: what is being pushed right now is held, even after its last link has ended."""
    digest = await push(catalog, store, b"layer")
    async with RepositoryHolder(catalog, OTHER).pin(digest) as pin:
        await RepositoryHolder(catalog, APP).release(digest)
        clock.advance(4000)
        verdicts = await _collect(roots, store)
        assert [verdict.reasons for verdict in verdicts] == [("being pushed right now",)]
        assert await _is_stored(store, digest)
        await pin.keep(5)
    assert await _collect(roots, store) == []
    assert await fetch(store.backend, digest) == b"layer"


async def test_what_a_crashed_push_published_goes_after_a_while(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 9: the pin of a process that was killed lapses an hour after the upload time."""
    await catalog.write(
        lambda transaction: holds.insert_pin(
            transaction, digest_of(b"layer"), "crashed", now=catalog.now()
        )
    )
    digest = await push(catalog, store, b"layer")
    await RepositoryHolder(catalog, APP).release(digest)
    clock.advance(600 + 3600 - 1)
    assert [verdict.goes for verdict in await _collect(roots, store)] == [False]
    clock.advance(2)
    verdicts = await _collect(roots, store)
    assert [(verdict.goes, verdict.reasons) for verdict in verdicts] == [
        (True, ("its push was broken off",))
    ]
    assert not await _is_stored(store, digest)


async def test_a_link_that_no_manifest_names_lapses_after_its_grace(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """24 h after the last push, mount or HEAD by a pusher."""
    digest = await push(catalog, store, b"layer")
    clock.advance(DAY_S)
    assert await _collect(roots, store) == []
    await LinkUses(catalog, unnamed_link_grace_s=DAY_S).use(APP, digest)
    clock.advance(DAY_S)
    assert await _collect(roots, store) == []
    clock.advance(1)
    (verdict,) = await _collect(roots, store)
    assert verdict.goes
    assert "no manifest of team/app names it" in verdict.reasons[0]
    assert await ReadQueries(catalog.reader).link(APP, digest) is None


async def test_a_link_that_a_manifest_names_never_lapses(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock, manifests: Manifests
) -> None:
    """Promise 11: until the manifest is deleted, and the same blob unnamed elsewhere goes."""
    digest = await push(catalog, store, b"layer")
    await mount(catalog, digest, into=OTHER, source=APP, subject=EVERYONE)
    accepted = await manifests.put(APP, LATEST, content=image(digest), content_type=None)
    clock.advance(100 * DAY_S)
    (verdict,) = await _collect(roots, store)
    assert not verdict.goes
    assert verdict.reasons == ("linked by team/app",)
    assert await ReadQueries(catalog.reader).link(APP, digest) is not None
    assert await ReadQueries(catalog.reader).link(OTHER, digest) is None
    await delete_manifest(catalog, APP, accepted.digest)
    assert [verdict.goes for verdict in await _collect(roots, store)] == [True]


async def test_foreign_layers_that_were_pushed_all_the_same_stay(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock, manifests: Manifests
) -> None:
    """R48 lets them be missing; it does not let them be lost."""
    config = await push(catalog, store, b"{}")
    layer = await push(catalog, store, b"layer")
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    named = {"mediaType": kind, "digest": str(layer), "size": 5}
    content = image(config, layers=[named])
    await manifests.put(APP, LATEST, content=content, content_type=None)
    clock.advance(2 * DAY_S)
    assert await _collect(roots, store) == []


async def test_the_blob_api_holds_what_it_was_given_until_delete(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 11: bytes go at once with the last hold."""
    holder = ApiHolder(catalog, REFERENCES, store)
    digest = await push_as(holder, store, b"weights")
    clock.advance(100 * DAY_S)
    assert await _collect(roots, store) == []
    await holder.release(digest)
    assert not await _is_stored(store, digest)
    with pytest.raises(BlobNotFound):
        await holder.release(digest)
    assert await _collect(roots, store) == []


async def test_the_blob_api_does_not_delete_what_a_repository_links(
    catalog: Catalog, store: BlobStore, roots: Roots
) -> None:
    """Promise 11: one front does not pull the other's blobs away."""
    holder = ApiHolder(catalog, REFERENCES, store)
    digest = await push_as(holder, store, b"weights")
    await push(catalog, store, b"weights")
    await holder.release(digest)
    assert await fetch(store.backend, digest) == b"weights"
    with pytest.raises(BlobNotFound):
        await holder.release(digest)
    await RepositoryHolder(catalog, APP).release(digest)
    assert [verdict.goes for verdict in await _collect(roots, store)] == [True]


async def test_a_repository_does_not_collect_what_the_blob_api_holds(
    catalog: Catalog, store: BlobStore, roots: Roots
) -> None:
    """Promise 11: the other way round."""
    digest = await push_as(ApiHolder(catalog, REFERENCES, store), store, b"weights")
    await push(catalog, store, b"weights")
    await RepositoryHolder(catalog, APP).release(digest)
    (verdict,) = await _collect(roots, store)
    assert verdict.reasons == ("held by the blob API",)
    assert await fetch(store.backend, digest) == b"weights"


async def test_the_blob_api_cannot_release_what_it_does_not_hold(
    catalog: Catalog, store: BlobStore
) -> None:
    """Promise 10: a DELETE by digest alone takes nothing from a repository."""
    digest = await push(catalog, store, b"layer")
    with pytest.raises(BlobNotFound):
        await ApiHolder(catalog, REFERENCES, store).release(digest)
    assert await fetch(store.backend, digest) == b"layer"


async def test_bytes_that_vanished_do_not_stop_the_collection(
    catalog: Catalog, store: BlobStore, roots: Roots
) -> None:
    """B9: somebody cleaned up by hand."""
    first, second = await push(catalog, store, b"1"), await push(catalog, store, b"2")
    for digest in (first, second):
        await RepositoryHolder(catalog, APP).release(digest)
    await store.delete(first)
    verdicts = await _collect(roots, store)
    assert sorted(verdict.size_bytes for verdict in verdicts) == [0, 1]
    assert await _collect(roots, store) == []


class _Stuck(BlobStore):
    """A store whose backend is in trouble."""

    async def delete(self, digest: Digest) -> int:
        raise BackendUnavailable("no")


async def test_a_blob_that_could_not_be_removed_is_tried_again(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 9: the row is there as long as the bytes may be."""
    digest = await push(catalog, store, b"layer")
    await RepositoryHolder(catalog, APP).release(digest)
    with pytest.raises(BackendUnavailable):
        await _collect(roots, _Stuck(store.backend, Metrics()))
    clock.advance(holds.DELETING_S + 1)
    assert [verdict.digest for verdict in await _collect(roots, store)] == [digest]


class _Torn(BlobStore):
    """A store that breaks off when the bytes are gone and nobody has been told."""

    async def delete(self, digest: Digest) -> int:
        await super().delete(digest)
        raise BackendUnavailable("no")


async def test_a_collection_that_breaks_off_leaves_no_link_without_bytes(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 11: a HEAD looks at links alone, so lapsed ones end before their bytes do."""
    digest = await push(catalog, store, b"layer")
    clock.advance(DAY_S + 1)
    with pytest.raises(BackendUnavailable):
        await _collect(roots, _Torn(store.backend, Metrics()))
    assert not await _is_stored(store, digest)
    assert await ReadQueries(catalog.reader).link(APP, digest) is None
    clock.advance(holds.DELETING_S + 1)
    assert [verdict.size_bytes for verdict in await _collect(roots, store)] == [0]


async def test_a_delete_that_breaks_off_leaves_no_hold_without_bytes(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 11: the blob API's hold has ended, and collection does the rest."""
    torn = _Torn(store.backend, Metrics())
    digest = await push_as(ApiHolder(catalog, REFERENCES, torn), torn, b"weights")
    with pytest.raises(BackendUnavailable):
        await ApiHolder(catalog, REFERENCES, torn).release(digest)
    with pytest.raises(BlobNotFound):
        await ApiHolder(catalog, REFERENCES, store).release(digest)
    clock.advance(holds.DELETING_S + 1)
    assert [verdict.goes for verdict in await _collect(roots, store)] == [True]


async def test_what_goes_is_counted(catalog: Catalog, store: BlobStore, roots: Roots) -> None:
    digest = await push(catalog, store, b"layer")
    await RepositoryHolder(catalog, APP).release(digest)
    metrics = Metrics()
    async for _ in collect(roots, store, metrics, dry_run=False):
        pass
    assert metrics.registry.get_sample_value("blobd_collected_blobs_total") == 1
    assert metrics.registry.get_sample_value("blobd_collected_bytes_total") == 5


async def test_more_candidates_than_a_page_are_all_judged(
    catalog: Catalog,
    store: BlobStore,
    roots: Roots,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Candidates come by pages, and none falls between two."""
    monkeypatch.setattr("blobd.references.roots._PAGE", 4)
    digests = [await push(catalog, store, b"%d" % number) for number in range(12)]
    clock.advance(DAY_S + 1)
    for dry_run in (True, False):
        verdicts = await _collect(roots, store, dry_run=dry_run)
        assert [verdict.digest for verdict in verdicts] == sorted(digests, key=str)


async def test_a_blob_unknown_to_the_catalog_is_never_touched(
    catalog: Catalog, store: BlobStore, roots: Roots, clock: Clock
) -> None:
    """Promise 11: collection never starts from a listing."""
    staging_id = (await store.backend.begin("0" * 32, b"")).upload_id
    staging = await store.backend.stage(staging_id)
    await staging.append([b"somebody else's"])
    await staging.commit(digest_of(b"somebody else's"))
    await staging.aclose()
    clock.advance(1000 * DAY_S)
    assert await _collect(roots, store) == []
    assert await _is_stored(store, digest_of(b"somebody else's"))


async def test_a_collection_cancelled_anywhere_can_be_done_again(
    fresh_place: Callable[[], Path | Server], clock: Clock
) -> None:
    """Promise 9: what was held is there, and what was not goes with the next run."""

    @asynccontextmanager
    async def collecting() -> AsyncIterator[Callable[[], Awaitable[object]]]:
        place = await off_loop(fresh_place)
        async with open_catalog(place, durable=False, clock=clock) as catalog:
            store = BlobStore(Memory(), Metrics())
            roots = roots_of(catalog, unnamed_link_grace_s=DAY_S)
            gone = await push(catalog, store, b"gone")
            kept = await push(catalog, store, b"kept")
            await push(catalog, store, b"kept", OTHER)
            for digest in (gone, kept):
                await RepositoryHolder(catalog, APP).release(digest)

            async def call() -> None:
                await _collect(roots, store)

            yield call
            clock.advance(holds.DELETING_S + 1)
            await call()
            assert not await _is_stored(store, gone)
            assert await fetch(store.backend, kept) == b"kept"
            assert await _collect(roots, store) == []

    assert await cancel_at_each_checkpoint(collecting) >= 6
