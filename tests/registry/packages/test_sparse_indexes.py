"""Indexes without the manifests that they list: refused, or taken where an admin says so (R48)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.digest import Digest
from blobd.registry.errors import ManifestChildMissing, ManifestReferencesUnknown, ManifestUnknown
from blobd.registry.manifests import Manifests
from blobd.registry.media_types import OCI_INDEX
from blobd.registry.names import Tag
from blobd.registry.packages import manage
from tests.backends.acts import digest_of
from tests.registry.acts import descriptor, image, index, push
from tests.registry.packages.conftest import APP, GRACE_S

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.store import BlobStore
    from blobd.threads import Threads
    from tests.registry.packages.conftest import Shop

ABSENT = Digest("sha256", "ab" * 32)
OTHER = Digest("sha256", "cd" * 32)


async def _allow(shop: Shop, *, allowed: bool = True) -> None:
    package_id = (await shop.package()).package_id
    await manage.set_sparse_indexes(shop.catalog, package_id, allowed=allowed)


async def test_they_are_refused_until_a_package_takes_them(shop: Shop) -> None:
    here = await shop.push("amd64")
    with pytest.raises(ManifestReferencesUnknown) as refusal:
        await shop.push_index(here, ABSENT, OTHER, ABSENT, tags=["v1"])
    assert refusal.value.digests == (ABSENT, OTHER)
    await _allow(shop)
    assert (await shop.package()).sparse_indexes
    digest = await shop.push_index(here, ABSENT, OTHER, tags=["v1"])
    (warning,) = shop.warnings
    assert warning == f"the index lists 2 manifests that are not here, such as {ABSENT}"
    assert (await shop.version(digest)).platforms == ("linux/amd64",)
    await shop.push_index(here, ABSENT, tags=["v2"])
    assert f"the index lists a manifest that is not here: {ABSENT}" in shop.warnings
    await _allow(shop, allowed=False)
    with pytest.raises(ManifestReferencesUnknown):
        await shop.push_index(here, ABSENT, OTHER, tags=["v1"])


async def test_a_registry_takes_them_everywhere(
    catalog: Catalog, store: BlobStore, threads: Threads
) -> None:
    """`registry.sparse_indexes`; an image still has to be whole."""
    manifests = Manifests(catalog, threads, sparse_indexes=True)
    await manifests.put(APP, Tag("v1"), content=index(ABSENT), content_type=None)
    config = await push(catalog, store, b"{}", APP)
    content = image(config, OTHER)
    with pytest.raises(ManifestReferencesUnknown):
        await manifests.put(APP, Tag("v2"), content=content, content_type=None)


async def test_who_pulls_what_is_missing_is_told_so(
    shop: Shop, catalog: Catalog, threads: Threads
) -> None:
    """And only for what an index lists: neither for blobs nor for what nobody named."""
    manifests = Manifests(catalog, threads)
    first = await shop.push("amd64", layer=b"layer")
    await _allow(shop)
    listed = await shop.push_index(first, ABSENT, tags=["v1"])
    with pytest.raises(ManifestChildMissing, match="was pushed without it") as refusal:
        await manifests.get(APP, ABSENT)
    assert (refusal.value.reference, refusal.value.index) == (str(ABSENT), listed)
    cached = await push(catalog, shop.store, b"cached", APP)
    cache = index(manifests=[descriptor(cached), descriptor(OTHER, OCI_INDEX)])
    await shop.put(cache, "cache")
    for unknown in (cached, Digest("sha256", "ef" * 32)):
        with pytest.raises(ManifestUnknown) as plain:
            await manifests.get(APP, unknown)
        assert not isinstance(plain.value, ManifestChildMissing)


async def test_a_child_may_come_later(shop: Shop, catalog: Catalog, threads: Threads) -> None:
    """It is listed already; pushed again, the index shows its platform too."""
    await shop.push("other", layer=b"other")  # a package's last tagged version stays
    child = await shop.push("amd64")
    await shop.trash.delete_version((await shop.package()).package_id, child, shop.ada)
    await _allow(shop)
    listed = await shop.push_index(child, tags=["v1"])
    assert (await shop.version(listed)).platforms == ()
    assert await shop.push("amd64") == child
    await shop.push_index(child, tags=["v1"])
    assert (await shop.version(listed)).platforms == ("linux/amd64",)
    assert shop.warnings == ()
    assert (await Manifests(catalog, threads).get(APP, child)).digest == child


async def test_collection_takes_nothing_that_a_sparse_index_needs(shop: Shop) -> None:
    """What it lists and is here stays; what is not here holds nobody up, nor does its deletion."""
    await shop.push("other", layer=b"other")  # a package's last tagged version stays
    here = await shop.push("amd64", layer=b"kept")
    await _allow(shop)
    listed = await shop.push_index(here, ABSENT, tags=["v1"])
    shop.clock.advance(2 * GRACE_S)
    await shop.collect()
    assert await shop.is_stored(digest_of(b"kept"))
    package_id = (await shop.package()).package_id
    await shop.trash.delete_version(package_id, listed, shop.ada)
    version = await shop.version(listed)
    await shop.trash.restore_version(package_id, version.version_id)
    await shop.trash.delete_version(package_id, listed, shop.ada)
    await shop.trash.delete_version(package_id, here, shop.ada)
    shop.clock.advance(60 * GRACE_S)
    await shop.trash.purge()
    await shop.collect()
    shop.clock.advance(2 * GRACE_S)
    await shop.collect()
    assert not await shop.is_stored(digest_of(b"kept"))
