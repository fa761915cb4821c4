"""Deletes beside pushes: an image that could be pushed can be pulled (promise 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.errors import (
    BlobReferenced,
    ManifestListed,
    ManifestReferencesUnknown,
    ManifestUnknown,
)
from blobd.registry.links import RepositoryHolder
from blobd.registry.names import Tag
from tests.registry.acts import APP, delete_manifest, image, index, push

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from blobd.database import Catalog
    from blobd.registry.manifests import Manifests
    from blobd.store import BlobStore

ROUNDS = 30
REFUSED = (BlobReferenced, ManifestListed, ManifestReferencesUnknown)


async def _race(
    push: Coroutine[object, object, object],
    delete: Coroutine[object, object, object],
    *,
    turns: int,
) -> None:
    """Delete some turns of the loop after the push has begun; each is done or refused."""

    async def later() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await delete

    for outcome in await asyncio.gather(push, later(), return_exceptions=True):
        assert not isinstance(outcome, BaseException) or isinstance(outcome, REFUSED), outcome


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_a_blob_goes_or_its_manifest_comes(
    catalog: Catalog, store: BlobStore, manifests: Manifests, turns: int
) -> None:
    holder = RepositoryHolder(catalog, APP)
    for number in range(ROUNDS):
        config = await push(catalog, store, f"config {number}".encode())
        layer = await push(catalog, store, f"layer {number}".encode())
        content, tag = image(config, layer), Tag(f"v{number}")
        await _race(
            manifests.put(APP, tag, content=content, content_type=None),
            holder.release(layer),
            turns=turns,
        )
        linked = await ReadQueries(catalog.reader).link(APP, layer) is not None
        assert linked is await _is_there(manifests.get(APP, tag))


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_a_manifest_goes_or_its_index_comes(
    catalog: Catalog, store: BlobStore, manifests: Manifests, turns: int
) -> None:
    config = await push(catalog, store, b"{}")
    for number in range(ROUNDS):
        child = await manifests.put(
            APP, Tag("child"), content=image(config, number=number), content_type=None
        )
        content, tag = index(child.digest), Tag(f"v{number}")
        await _race(
            manifests.put(APP, tag, content=content, content_type=None),
            delete_manifest(catalog, APP, child.digest),
            turns=turns,
        )
        listed = await _is_there(manifests.get(APP, child.digest))
        assert listed is await _is_there(manifests.get(APP, tag))


async def _is_there(look: Coroutine[object, object, object]) -> bool:
    try:
        await look
    except ManifestUnknown:
        return False
    return True
