"""Manifests: put, get, delete (R15-R20, R42-R52, R68)."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import blake3
import pytest

from blobd.backends.memory import Memory
from blobd.database import open_catalog
from blobd.digest import Digest
from blobd.errors import DigestMismatch, DigestUnsupported
from blobd.metrics import Metrics
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.errors import (
    ManifestInvalid,
    ManifestReferencesUnknown,
    ManifestUnknown,
    NameUnknown,
)
from blobd.registry.manifests import Manifests
from blobd.registry.media_types import OCI_INDEX, OCI_MANIFEST
from blobd.registry.names import Tag
from blobd.registry.tags import delete_tag, list_tags
from blobd.store import BlobStore
from blobd.threads import Threads
from tests.backends.acts import digest_of, off_loop
from tests.cancellation import cancel_at_each_checkpoint
from tests.registry.acts import APP, OTHER, delete_manifest, descriptor, image, index, push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from blobd.database import Catalog
    from blobd.database.opening import Server

LATEST = Tag("latest")
MISSING = Digest("sha256", "ef" * 32)


async def test_a_manifest_comes_back_byte_for_byte(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R15, R19, R43: odd spacing, order and unknown members included."""
    config = await push(catalog, store, b"{}")
    document = json.loads(image(config, odd=1.50))
    content = b"\n " + json.dumps(document, indent=3).encode() + b"\r\n\t "
    accepted = await manifests.put(
        APP, LATEST, content=content, content_type=f"{OCI_MANIFEST}; charset=utf-8"
    )
    assert accepted.digest == digest_of(content)
    for reference in (LATEST, accepted.digest):
        found = await manifests.get(APP, reference)
        assert found.content == content
        assert found.media_type == OCI_MANIFEST
        assert found.digest == accepted.digest


async def test_a_manifest_is_kept_under_every_digest_it_was_pushed_with(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R17: and a tag reports the one it was pushed with."""
    config = await push(catalog, store, b"{}")
    content = image(config)
    digests = [
        Digest("sha256", hashlib.sha256(content).hexdigest()),
        Digest("sha512", hashlib.sha512(content).hexdigest()),
        Digest("blake3", blake3.blake3(content).hexdigest()),
    ]
    for digest in digests:
        tag = Tag(digest.algorithm)
        await manifests.put(APP, digest, content=content, content_type=None, tags=[tag])
    for digest in digests:
        assert (await manifests.get(APP, digest)).content == content
        assert (await manifests.get(APP, Tag(digest.algorithm))).digest == digest
    await delete_manifest(catalog, APP, digests[0])
    assert (await manifests.get(APP, digests[1])).content == content


async def test_a_manifest_of_four_megabytes_is_kept_too(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R51."""
    config = await push(catalog, store, b"{}")
    content = image(config, annotations={"large": os.urandom(2_000_000).hex()})
    assert len(content) > 4_000_000
    accepted = await manifests.put(APP, LATEST, content=content, content_type=None)
    assert (await manifests.get(APP, accepted.digest)).content == content
    assert (await manifests.find(APP, LATEST)).size_bytes == len(content)


async def test_the_digest_in_the_url_must_be_the_contents(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R45: and then nothing is stored."""
    config = await push(catalog, store, b"{}")
    with pytest.raises(DigestMismatch):
        await manifests.put(APP, MISSING, content=image(config), content_type=None)
    with pytest.raises(DigestUnsupported):
        await manifests.put(APP, Digest("md5", "0" * 32), content=image(config), content_type=None)
    with pytest.raises(ManifestUnknown):
        await manifests.get(APP, MISSING)


async def test_everything_a_manifest_names_and_the_repository_lacks_is_named(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R48: each missing digest once, and no repository or tag is made."""
    other = await push(catalog, store, b"elsewhere", OTHER)
    content = image(other, MISSING, other)
    with pytest.raises(ManifestReferencesUnknown) as refusal:
        await manifests.put(APP, LATEST, content=content, content_type=None)
    assert refusal.value.digests == (other, MISSING)
    assert not await ReadQueries(catalog.reader).knows(APP)
    with pytest.raises(NameUnknown):
        await manifests.get(APP, LATEST)


async def test_a_blob_of_another_repository_does_not_count(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """Promise 10: the reference check looks at the repository's links, never at the store."""
    config = await push(catalog, store, b"{}")
    layer = await push(catalog, store, b"private", OTHER)
    with pytest.raises(ManifestReferencesUnknown) as refusal:
        await manifests.put(APP, LATEST, content=image(config, layer), content_type=None)
    assert refusal.value.digests == (layer,)


async def test_layers_that_live_elsewhere_and_subjects_may_be_missing(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R47, R48."""
    config = await push(catalog, store, b"{}")
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    content = image(
        config,
        layers=[
            descriptor(MISSING, foreign, urls=["https://example.com"]),
            descriptor(MISSING, urls=["https://example.com"]),
        ],
        subject=descriptor(MISSING, OCI_MANIFEST),
    )
    accepted = await manifests.put(APP, LATEST, content=content, content_type=None)
    assert accepted.subject == MISSING
    content = image(config, layers=[descriptor(MISSING, foreign)])
    with pytest.raises(ManifestReferencesUnknown):
        await manifests.put(APP, LATEST, content=content, content_type=None)


async def test_the_children_of_an_index_are_looked_for_among_manifests(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R48: a blob of that digest is no manifest."""
    config = await push(catalog, store, b"{}")
    content = image(config)
    as_blob = await push(catalog, store, content)
    with pytest.raises(ManifestReferencesUnknown):
        await manifests.put(APP, LATEST, content=index(as_blob), content_type=None)
    await manifests.put(APP, as_blob, content=content, content_type=None)
    accepted = await manifests.put(APP, LATEST, content=index(as_blob), content_type=None)
    nested = index(accepted.digest, manifests=[descriptor(accepted.digest, OCI_INDEX)])
    await manifests.put(APP, Tag("nested"), content=nested, content_type=None)


async def test_an_index_of_a_build_cache_may_list_layers(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """BuildKit exports its cache as an index of blobs."""
    layer = await push(catalog, store, b"layer")
    content = index(manifests=[descriptor(layer)])
    await manifests.put(APP, LATEST, content=content, content_type=OCI_INDEX)
    assert await ReadQueries(catalog.reader).named(APP, layer)


async def test_more_references_than_a_statement_holds_are_checked_all(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R48: some clients make indexes of thousands."""
    config = await push(catalog, store, b"{}")
    absent = [Digest("sha256", f"{number:064x}") for number in range(1700)]
    with pytest.raises(ManifestReferencesUnknown) as refusal:
        await manifests.put(APP, LATEST, content=image(config, *absent), content_type=None)
    assert refusal.value.digests == tuple(absent)


async def test_a_malformed_manifest_changes_nothing(catalog: Catalog, manifests: Manifests) -> None:
    """Promise 9."""
    with pytest.raises(ManifestInvalid):
        await manifests.put(APP, LATEST, content=b"blablabla", content_type=OCI_MANIFEST)
    assert not await ReadQueries(catalog.reader).knows(APP)


async def test_a_tag_moves_and_the_old_manifest_stays(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R44."""
    config = await push(catalog, store, b"{}")
    old = await manifests.put(APP, LATEST, content=image(config), content_type=None)
    new = await manifests.put(APP, LATEST, content=image(config, config), content_type=None)
    assert (await manifests.find(APP, LATEST)).digest == new.digest
    assert (await manifests.find(APP, old.digest)).digest == old.digest


async def test_several_tags_are_set_with_one_push(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R49."""
    content = image(await push(catalog, store, b"{}"))
    tags = [Tag(f"v{number}") for number in range(20)]
    accepted = await manifests.put(
        APP, digest_of(content), content=content, content_type=None, tags=tags
    )
    assert accepted.tags == tuple(tags)
    page = await list_tags(catalog, APP, after="", limit=100)
    assert set(page.names) == set(tags)


async def test_deleting_a_manifest_takes_every_tag_of_it(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R68."""
    config = await push(catalog, store, b"{}")
    content = image(config)
    digest = digest_of(content)
    await manifests.put(APP, digest, content=content, content_type=None, tags=[LATEST, Tag("v1")])
    await manifests.put(APP, Tag("v2"), content=image(config, config), content_type=None)
    await delete_manifest(catalog, APP, digest)
    for reference in (digest, LATEST, Tag("v1")):
        with pytest.raises(ManifestUnknown):
            await manifests.find(APP, reference)
    assert (await list_tags(catalog, APP, after="", limit=9)).names == ("v2",)
    with pytest.raises(ManifestUnknown):
        await delete_manifest(catalog, APP, digest)
    with pytest.raises(NameUnknown):
        await delete_manifest(catalog, OTHER, digest)


async def test_deleting_a_tag_leaves_its_manifest(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R67."""
    config = await push(catalog, store, b"{}")
    accepted = await manifests.put(APP, LATEST, content=image(config), content_type=None)
    await delete_tag(catalog, APP, LATEST)
    with pytest.raises(ManifestUnknown):
        await manifests.find(APP, LATEST)
    assert (await manifests.find(APP, accepted.digest)).digest == accepted.digest
    with pytest.raises(ManifestUnknown):
        await delete_tag(catalog, APP, LATEST)
    with pytest.raises(NameUnknown):
        await delete_tag(catalog, OTHER, LATEST)


async def test_the_same_manifest_may_lie_in_many_repositories(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """Each has its own, and deletes its own."""
    content = image(await push(catalog, store, b"{}"))
    await push(catalog, store, b"{}", OTHER)
    accepted = await manifests.put(APP, LATEST, content=content, content_type=None)
    await manifests.put(OTHER, LATEST, content=content, content_type=None)
    await delete_manifest(catalog, APP, accepted.digest)
    assert (await manifests.get(OTHER, LATEST)).content == content


async def test_a_push_cancelled_anywhere_is_done_or_undone(
    fresh_place: Callable[[], Path | Server],
) -> None:
    """Promise 9: manifest, references and tags together, or none of them."""

    @asynccontextmanager
    async def pushing() -> AsyncIterator[Callable[[], Awaitable[object]]]:
        place = await off_loop(fresh_place)
        async with open_catalog(place, durable=False) as catalog:
            config = await push(catalog, BlobStore(Memory(), Metrics()), b"{}")
            threads = Threads(1, "manifests")
            manifests = Manifests(catalog, threads)
            content = image(config)

            async def call() -> None:
                await manifests.put(APP, LATEST, content=content, content_type=None)

            yield call
            there = [
                await ReadQueries(catalog.reader).manifest(APP, digest_of(content)) is not None,
                await ReadQueries(catalog.reader).tagged(APP, LATEST) is not None,
                await ReadQueries(catalog.reader).named(APP, config),
            ]
            assert len(set(there)) == 1, there
            await call()
            threads.close()

    assert await cancel_at_each_checkpoint(pushing) >= 2
