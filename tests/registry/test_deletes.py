"""Deletes beside pushes: an image that could be pushed can be pulled (promise 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BlobNotFound
from blobd.registry.catalog.hot import Hot
from blobd.registry.errors import (
    BlobReferenced,
    ManifestListed,
    ManifestReferencesUnknown,
    ManifestUnknown,
)
from blobd.registry.links import RepositoryKeeper
from blobd.registry.names import Tag
from tests.registry.acts import APP, delete_manifest, image, index, push

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from blobd.registry.catalog import Catalog
    from blobd.registry.manifests import Manifests
    from blobd.store import BlobStore

ROUNDS = 30
REFUSED = (BlobReferenced, ManifestListed, ManifestReferencesUnknown)


async def _both(first: Coroutine[object, object, object], *others: asyncio.Task[object]) -> None:
    """Wait for all; each is done or refused."""
    for outcome in await asyncio.gather(first, *others, return_exceptions=True):
        assert outcome is None or isinstance(outcome, REFUSED), outcome


@pytest.mark.parametrize("delay_turns", [0, 1, 3, 10])
async def test_a_blob_goes_or_its_manifest_comes(
    catalog: Catalog, store: BlobStore, manifests: Manifests, delay_turns: int
) -> None:
    keeper = RepositoryKeeper(catalog, APP)

    async def put(content: bytes, tag: str) -> None:
        await manifests.put(APP, Tag(tag), content=content, content_type=None)

    for number in range(ROUNDS):
        config = await push(catalog, store, f"config {number}".encode())
        layer = await push(catalog, store, f"layer {number}".encode())
        pushing = asyncio.create_task(put(image(config, layer), f"v{number}"))
        for _ in range(delay_turns):
            await asyncio.sleep(0)
        await _both(keeper.release(layer), pushing)
        linked = await Hot(catalog.reader).link(APP, layer) is not None
        assert linked is await _is_there(lambda: manifests.get(APP, Tag(f"v{number}")))


@pytest.mark.parametrize("delay_turns", [0, 1, 3, 10])
async def test_a_manifest_goes_or_its_index_comes(
    catalog: Catalog, store: BlobStore, manifests: Manifests, delay_turns: int
) -> None:
    config = await push(catalog, store, b"{}")

    async def put(content: bytes, tag: str) -> None:
        await manifests.put(APP, Tag(tag), content=content, content_type=None)

    for number in range(ROUNDS):
        child = await manifests.put(
            APP, Tag("child"), content=image(config, number=number), content_type=None
        )
        pushing = asyncio.create_task(put(index(child.digest), f"v{number}"))
        for _ in range(delay_turns):
            await asyncio.sleep(0)
        await _both(delete_manifest(catalog, APP, child.digest), pushing)
        listed = await _is_there(lambda: manifests.get(APP, child.digest))
        assert listed is await _is_there(lambda: manifests.get(APP, Tag(f"v{number}")))


async def _is_there(look: Callable[[], Coroutine[object, object, object]]) -> bool:
    try:
        await look()
    except (BlobNotFound, ManifestUnknown):
        return False
    return True
