"""Children of an index are known as its children, and a delete says what it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.registry.catalog import versions
from blobd.registry.catalog.indexes import Parent, children_of, parents_of
from blobd.registry.errors import ManifestListed
from tests.registry.packages.conftest import APP

if TYPE_CHECKING:
    from blobd.digest import Digest
    from blobd.registry.catalog.versions import Version
    from tests.registry.packages.conftest import Shop


async def _version(shop: Shop, digest: Digest) -> Version:
    package_id = (await shop.package()).package_id
    found = await shop.catalog.read(
        lambda transaction: versions.find_digest(transaction, package_id, digest)
    )
    assert found is not None
    return found


async def test_versions_name_their_indexes_and_children(shop: Shop) -> None:
    one = await shop.push(layer=b"one")
    two = await shop.push(layer=b"two", architecture="arm64")
    alone = await shop.push("alone", layer=b"alone")
    old = await shop.push_index(one, tags=["v1"])
    shop.clock.advance(1)
    new = await shop.push_index(one, two, tags=["v2", "latest"])
    assert (await _version(shop, one)).parents == (
        Parent(new, ("latest", "v2")),
        Parent(old, ("v1",)),
    )
    assert (await _version(shop, two)).parents == (Parent(new, ("latest", "v2")),)
    assert set((await _version(shop, new)).children) == {one, two}
    assert (await _version(shop, old)).children == (one,)
    for version in (await _version(shop, alone), await _version(shop, one)):
        assert version.children == ()
    assert (await _version(shop, alone)).parents == ()


async def test_a_delete_says_what_it_breaks_and_a_restore_mends_it(shop: Shop) -> None:
    child = await shop.push()
    parent = await shop.push_index(child, tags=["v1"])
    with pytest.raises(ManifestListed, match=f"is listed by {parent} .tagged v1."):
        await shop.trash.delete_manifest(APP, child, shop.ada)
    assert (await _version(shop, parent)).children == (child,)
    breaks = await shop.trash.delete_manifest(APP, child, shop.ada, force=True)
    assert breaks == (
        f"{parent} (tagged v1) lists what was deleted; pulls of it through that index fail",
    )
    deleted = await _version(shop, child)
    assert deleted.parents == (Parent(parent, ("v1",)),)
    assert (await _version(shop, parent)).children == ()
    package_id = (await shop.package()).package_id
    await shop.trash.restore_version(package_id, deleted.version_id)
    assert (await _version(shop, parent)).children == (child,)
    # who deletes the index first breaks nothing
    assert await shop.trash.delete_manifest(APP, parent, shop.ada) == ()
    (left,) = await shop.trash.delete_manifest(APP, child, shop.ada)
    assert left == f"{APP} has no version left and is hidden until the next push"


async def test_an_index_that_refers_to_a_manifest_is_none_that_lists_it(shop: Shop) -> None:
    """A subject may be deleted: its referrers are no worse for it."""
    subject = await shop.push("v1")
    named = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2}
    await shop.push_index(tags=["sig"], subject={**named, "digest": str(subject)})
    assert (await _version(shop, subject)).parents == ()
    assert await shop.trash.delete_manifest(APP, subject, shop.ada) == ()


async def test_of_many_indexes_the_newest_are_named(shop: Shop) -> None:
    """A base that each nightly index lists costs a bounded answer; so does an index of hundreds."""
    child = await shop.push()
    newest = child
    for number in range(25):
        shop.clock.advance(1)
        newest = await shop.push_index(child, tags=[], annotations={"n": str(number)})
    package_id = (await shop.package()).package_id
    parents = await shop.catalog.read(
        lambda transaction: parents_of(transaction, package_id, [child])
    )
    assert len(parents[child]) == 20
    assert parents[child][0] == Parent(newest, ())
    children = await shop.catalog.read(
        lambda transaction: children_of(transaction, package_id, [newest, child])
    )
    assert children == {newest: (child,)}
