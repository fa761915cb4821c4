"""The same bytes pushed again, under a better or a worse media type (R44, R61, R62)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from blobd.digest import Digest
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.media_types import DOCKER_MANIFEST, OCI_MANIFEST
from blobd.registry.names import Tag
from blobd.registry.referrers import list_referrers
from tests.backends.acts import digest_of
from tests.registry.acts import APP, CONFIG_TYPE, asked, descriptor, image, push

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.registry.manifests import Manifests
    from blobd.store import BlobStore

UNKNOWN = "application/vnd.example.manifest+json"
LATEST = Tag("latest")
SUBJECT = Digest("sha256", "ef" * 32)


@pytest.fixture
async def content(catalog: Catalog, store: BlobStore) -> bytes:
    """An image manifest whose media type the request alone says."""
    config = await push(catalog, store, b"{}")
    subject = descriptor(SUBJECT, OCI_MANIFEST)
    document = json.loads(image(config, subject=subject, annotations={"k": "v"}))
    del document["mediaType"]
    return json.dumps(document).encode()


async def _listed(catalog: Catalog) -> dict[str, object]:
    page = await list_referrers(catalog, APP, SUBJECT)
    (referrer,) = json.loads(page.index)["manifests"]
    return {name: referrer.get(name) for name in ("mediaType", "artifactType")}


async def test_the_better_push_wins_whichever_comes_last(
    catalog: Catalog, manifests: Manifests, content: bytes
) -> None:
    """A careless first push leaves nothing behind, and a careless later one does nothing."""
    await manifests.put(APP, LATEST, content=content, content_type=UNKNOWN)
    assert await _listed(catalog) == {"mediaType": UNKNOWN, "artifactType": None}
    better = {"mediaType": OCI_MANIFEST, "artifactType": CONFIG_TYPE}
    for content_type in (OCI_MANIFEST, UNKNOWN, "application/example+json"):
        await manifests.put(APP, LATEST, content=content, content_type=content_type)
        assert await _listed(catalog) == better
        assert (await manifests.get(APP, LATEST)).media_type == OCI_MANIFEST


async def test_among_equals_the_newest_wins(
    catalog: Catalog, manifests: Manifests, content: bytes
) -> None:
    """R44: who pushes says what it is."""
    for content_type in (UNKNOWN, f"{UNKNOWN}2", OCI_MANIFEST, DOCKER_MANIFEST, OCI_MANIFEST):
        await manifests.put(APP, LATEST, content=content, content_type=content_type)
        assert (await _listed(catalog))["mediaType"] == content_type


async def test_what_was_stored_unread_is_read_when_it_comes_again(
    catalog: Catalog, manifests: Manifests, content: bytes
) -> None:
    """Earlier versions took another letter case for an unknown kind, and read nothing of it."""
    accepted = await manifests.put(APP, LATEST, content=content, content_type=OCI_MANIFEST)
    unread = (
        "UPDATE manifests SET media_type = 'Application/vnd.oci.image.manifest.v1+json',"
        " subject = NULL, artifact_type = NULL, annotations = NULL"
    )
    await catalog.write(lambda transaction: transaction.execute(text(unread)))
    await catalog.write(
        lambda transaction: transaction.execute(text("DELETE FROM manifest_references"))
    )
    spelling = f"{OCI_MANIFEST.upper()}; v=1"
    again = await manifests.put(APP, LATEST, content=content, content_type=spelling)
    assert again.digest == accepted.digest == digest_of(content)
    assert await _listed(catalog) == {"mediaType": OCI_MANIFEST, "artifactType": CONFIG_TYPE}
    assert await asked(catalog, "SELECT annotations FROM manifests") == ['{"k":"v"}']
    assert await ReadQueries(catalog.reader).named(APP, digest_of(b"{}"))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("x/sbom+json", {"x/sbom+json", "X/Sbom+JSON", "x/sbom+json; v=1", "x/sbom+json ;v=2"}),
        ("X/SBOM+json", {"x/sbom+json", "X/Sbom+JSON", "x/sbom+json; v=1", "x/sbom+json ;v=2"}),
        ("x/sbom+json; V=1", {"x/sbom+json; v=1"}),
        ("x/sbom+jso%", set()),
        ("x/sbom", {"x/sbom"}),
    ],
)
async def test_referrers_are_filtered_by_equal_types(
    catalog: Catalog, store: BlobStore, manifests: Manifests, wanted: str, found: set[str]
) -> None:
    """RFC 9110, section 8.3.1: a type is the same in any letter case."""
    config = await push(catalog, store, b"{}")
    for artifact_type in (
        "x/sbom+json",
        "X/Sbom+JSON",
        "x/sbom+json; v=1",
        "x/sbom+json ;v=2",
        "x/sbom",
        "x/sbom+jsonx",
    ):
        subject = descriptor(SUBJECT, OCI_MANIFEST)
        pushed = image(config, subject=subject, artifactType=artifact_type)
        await manifests.put(APP, digest_of(pushed), content=pushed, content_type=None)
    page = await list_referrers(catalog, APP, SUBJECT, artifact_type=wanted)
    listed = json.loads(page.index)["manifests"]
    assert {referrer["artifactType"] for referrer in listed} == found
