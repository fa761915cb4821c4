"""Lists by page: tags, repositories, referrers (R54-R65)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from blobd.digest import Digest
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.errors import NameUnknown
from blobd.registry.media_types import OCI_INDEX, OCI_MANIFEST
from blobd.registry.names import RepositoryName, Tag
from blobd.registry.referrers import list_referrers
from blobd.registry.tags import list_repositories, list_tags
from tests.registry.acts import (
    APP,
    CONFIG_TYPE,
    OTHER,
    delete_manifest,
    descriptor,
    image,
    index,
    push,
)

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.registry.manifests import Manifests
    from blobd.store import BlobStore

SUBJECT = Digest("sha256", "ab" * 32)
TAGS = ["10", "9", "A", "Z", "_", "a", "a-1", "a.1", "a_1", "b", "v1"]


@pytest.fixture
async def tagged(catalog: Catalog, store: BlobStore, manifests: Manifests) -> None:
    content = image(await push(catalog, store, b"{}"))
    for tag in reversed(TAGS):
        await manifests.put(APP, Tag(tag), content=content, content_type=None)


@pytest.mark.usefixtures("tagged")
async def test_tags_come_in_the_order_of_their_bytes(catalog: Catalog) -> None:
    """R55."""
    page = await list_tags(catalog, APP, after="", limit=100)
    assert list(page.names) == sorted(TAGS)
    assert page.next_after is None


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("size", [1, 2, 5, len(TAGS) - 1, len(TAGS)])
async def test_pages_of_any_size_make_up_the_list(catalog: Catalog, size: int) -> None:
    """R57: the last page has no next one, also when it is full."""
    names: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = await list_tags(catalog, APP, after=after, limit=size)
        names += page.names
        after = page.next_after
        pages += 1
    assert names == sorted(TAGS)
    assert pages == -(-len(TAGS) // size)


@pytest.mark.usefixtures("tagged")
async def test_a_place_in_the_list_need_not_be_a_tag(catalog: Catalog) -> None:
    """R58."""
    page = await list_tags(catalog, APP, after="a-", limit=2)
    assert page.names == ("a-1", "a.1")
    assert (await list_tags(catalog, APP, after="zzz", limit=2)).names == ()


@pytest.mark.usefixtures("tagged")
async def test_none_asked_for_is_an_empty_page_and_the_last(catalog: Catalog) -> None:
    """R57."""
    page = await list_tags(catalog, APP, after="", limit=0)
    assert page.names == ()
    assert page.next_after is None


async def test_a_repository_without_tags_has_an_empty_list(
    catalog: Catalog, store: BlobStore
) -> None:
    """R54."""
    await push(catalog, store, b"{}")
    assert (await list_tags(catalog, APP, after="", limit=9)).names == ()
    with pytest.raises(NameUnknown):
        await list_tags(catalog, OTHER, after="", limit=9)


async def test_repositories_are_listed_by_page(catalog: Catalog, store: BlobStore) -> None:
    """Docker's `_catalog`."""
    for name in ("b/a", "a", "b", "a-b", "a/b"):
        await push(catalog, store, b"{}", RepositoryName(name))
    first = await list_repositories(catalog, EVERYONE, after="", limit=3)
    assert first.names == ("a", "a-b", "a/b")
    assert first.next_after == "a/b"
    second = await list_repositories(catalog, EVERYONE, after="a/b", limit=3)
    assert second.names == ("b", "b/a")
    assert second.next_after is None


async def _referrers(catalog: Catalog, **more: Any) -> list[dict[str, Any]]:
    page = await list_referrers(catalog, APP, SUBJECT, **more)
    document = json.loads(page.index)
    assert document["mediaType"] == OCI_INDEX
    assert document["schemaVersion"] == 2
    found: list[dict[str, Any]] = document["manifests"]
    return found


async def test_referrers_are_described_as_the_specification_wants(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R60, R61, R62: images, artifacts and indexes, whether the subject exists or not."""
    config = await push(catalog, store, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    notes = {"org.example.note": "ä\u2028"}
    contents = [
        image(config, subject=subject),
        image(config, subject=subject, artifactType="x/sbom", annotations=notes),
        index(subject=subject),
        index(subject=subject, artifactType="x/sbom"),
        image(config),
    ]
    put = [
        await manifests.put(APP, Tag(f"t{number}"), content=content, content_type=None)
        for number, content in enumerate(contents)
    ]
    expected: dict[str, dict[str, Any]] = {
        str(put[0].digest): {"mediaType": OCI_MANIFEST, "artifactType": CONFIG_TYPE},
        str(put[1].digest): {
            "mediaType": OCI_MANIFEST,
            "artifactType": "x/sbom",
            "annotations": notes,
        },
        str(put[2].digest): {"mediaType": OCI_INDEX},
        str(put[3].digest): {"mediaType": OCI_INDEX, "artifactType": "x/sbom"},
    }
    for (digest, facts), content in zip(expected.items(), contents, strict=False):
        facts |= {"digest": digest, "size": len(content)}
    found = await _referrers(catalog)
    assert {each["digest"]: each for each in found} == expected
    assert [each["digest"] for each in found] == sorted(expected)


async def test_referrers_are_filtered_by_artifact_type(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R65."""
    config = await push(catalog, store, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    for number in range(4):
        content = image(config, subject=subject, artifactType=f"x/{number % 2}", number=number)
        await manifests.put(APP, Tag(f"t{number}"), content=content, content_type=None)
    found = await _referrers(catalog, artifact_type="x/1")
    assert [each["artifactType"] for each in found] == ["x/1", "x/1"]
    assert await _referrers(catalog, artifact_type="x/9") == []


async def test_referrers_of_anything_unknown_are_none(catalog: Catalog) -> None:
    """R59, R63: an unknown repository too."""
    assert await _referrers(catalog) == []


async def test_referrers_stay_within_their_repository_and_go_when_deleted(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R60."""
    config = await push(catalog, store, b"{}", OTHER)
    content = image(config, subject=descriptor(SUBJECT, OCI_MANIFEST))
    await manifests.put(OTHER, Tag("t"), content=content, content_type=None)
    assert await _referrers(catalog) == []
    await push(catalog, store, b"{}")
    accepted = await manifests.put(APP, Tag("t"), content=content, content_type=None)
    assert len(await _referrers(catalog)) == 1
    await delete_manifest(catalog, APP, accepted.digest)
    assert await _referrers(catalog) == []


async def test_a_page_of_referrers_stays_within_four_megabytes(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R64: and the pages together name each of them once."""
    config = await push(catalog, store, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    pushed = set()
    for number in range(5):
        notes = {f"n{number}": "x" * 1_500_000}
        content = image(config, subject=subject, annotations=notes)
        accepted = await manifests.put(APP, Tag(f"t{number}"), content=content, content_type=None)
        pushed.add(str(accepted.digest))
    found: list[str] = []
    after: Digest | None = None
    while True:
        page = await list_referrers(catalog, APP, SUBJECT, after=after)
        assert len(page.index) <= 4_000_000
        found += [each["digest"] for each in json.loads(page.index)["manifests"]]
        if page.next_after is None:
            break
        after = page.next_after
    assert len(found) == 5
    assert set(found) == pushed


async def test_a_single_huge_referrer_still_makes_a_page(
    catalog: Catalog, store: BlobStore, manifests: Manifests
) -> None:
    """R64: paging comes to an end."""
    config = await push(catalog, store, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    content = image(config, subject=subject, annotations={"n": "x" * 4_100_000})
    await manifests.put(APP, Tag("t"), content=content, content_type=None)
    page = await list_referrers(catalog, APP, SUBJECT)
    assert len(json.loads(page.index)["manifests"]) == 1
    assert page.next_after is None
