"""What a push makes of its package."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from blobd.registry.auth.roles import Visibility
from blobd.registry.auth.subjects import WorkflowOf
from blobd.registry.errors import NameUnknown, TagImmutable
from blobd.registry.identity import accounts, sources
from blobd.registry.media_types import OCI_MANIFEST
from blobd.registry.packages import manage
from tests.registry.acts import asked

if TYPE_CHECKING:
    from blobd.digest import Digest
    from tests.registry.packages.conftest import Shop

PREFIX = "org.opencontainers.image."
SOURCE = {f"{PREFIX}source": "https://git.example/ada/code"}


async def test_a_push_makes_a_private_package_with_a_version(shop: Shop) -> None:
    digest = await shop.push("v1", "latest", labels={f"{PREFIX}description": "An app"})
    package = await shop.package()
    assert (package.visibility, package.inherits, package.source) == ("private", False, None)
    assert (package.description, package.version_count) == ("An app", 1)
    (version,) = await shop.versions()
    assert version.digest == digest
    assert version.tags == ("latest", "v1")
    assert version.platforms == ("linux/amd64",)
    stored = await asked(shop.catalog, "SELECT SUM(size_bytes) FROM blobs")
    manifest = await asked(shop.catalog, "SELECT size_bytes FROM manifests")
    assert version.size_bytes == stored[0] + manifest[0]


async def test_pushing_it_again_makes_no_other_version(shop: Shop) -> None:
    await shop.push("v1")
    created_at = (await shop.versions())[0].created_at
    shop.clock.advance(60)
    await shop.push("v1")
    (version,) = await shop.versions()
    assert (version.created_at, version.updated_at) == (created_at, created_at + 60)


async def test_a_careless_push_of_it_is_no_loss(shop: Shop) -> None:
    """The same bytes under a media type that says less, before and after the right one."""
    named = await shop.push("v1", labels={f"{PREFIX}description": "An app"})
    content = json.loads(await asked_bytes(shop, named))
    del content["mediaType"]
    untyped = json.dumps(content | {"artifactType": "x/y"}).encode()
    careless = "application/vnd.example.manifest+json"
    digest = await shop.put(untyped, "v2", content_type=careless)
    version = await shop.version(digest)
    assert (version.platforms, version.description) == ((), None)
    for content_type in (OCI_MANIFEST, careless):
        shop.clock.advance(60)
        await shop.put(untyped, "v2", content_type=content_type)
        version = await shop.version(digest)
        assert version.updated_at == shop.clock()
        assert (version.platforms, version.description) == (("linux/amd64",), "An app")
        assert version.artifact_type == "x/y"


async def asked_bytes(shop: Shop, digest: Digest) -> bytes:
    """Return a manifest as it was pushed."""
    (content,) = await asked(
        shop.catalog, f"SELECT content FROM manifests WHERE digest = '{digest}'"
    )
    return bytes(content)


async def test_an_index_has_the_platforms_and_bytes_of_what_it_lists(shop: Shop) -> None:
    one = await shop.push(layer=b"amd", architecture="amd64")
    other = await shop.push(layer=b"arm" * 100, architecture="arm64")
    said = {f"{PREFIX}description": "Both", f"{PREFIX}licenses": "MIT OR Apache-2.0"}
    digest = await shop.push_index(one, other, tags=["v1"], annotations=said)
    version = await shop.version(digest)
    assert version.platforms == ("linux/amd64", "linux/arm64")
    parts = (await shop.version(one)).size_bytes + (await shop.version(other)).size_bytes
    assert version.size_bytes > parts
    package = await shop.package()
    assert (package.description, package.licences) == ("Both", "MIT OR Apache-2.0")


async def test_what_an_image_says_wrongly_warns_and_fails_nothing(shop: Shop) -> None:
    await shop.push("v1", labels={f"{PREFIX}description": "Fine"})
    wrong = {
        f"{PREFIX}description": "x" * 513,
        f"{PREFIX}licenses": "<script>",
        f"{PREFIX}source": "javascript:alert(1)",
    }
    await shop.push("v2", labels=wrong)
    assert len(shop.warnings) == 3
    package = await shop.package()
    assert package.description == "x" * 511 + "…"
    assert (package.licences, package.source_url) == (None, None)


async def test_a_link_at_the_first_publish_inherits_roles_and_no_visibility(shop: Shop) -> None:
    await sources.add_source(shop.catalog, "ada", "code", Visibility.PUBLIC)
    await shop.push("v1", labels=SOURCE)
    package = await shop.package()
    assert (package.source, package.inherits, package.visibility) == ("ada/code", True, "private")
    assert shop.warnings == ()
    grants = await manage.list_grants(shop.catalog, package.package_id)
    assert [(grant.kind, grant.role, grant.may_publish) for grant in grants] == [
        ("automation", "admin", False),
        ("environment", "read", False),
    ]
    assert package.source_url == SOURCE[f"{PREFIX}source"]


async def test_a_later_link_changes_nothing_of_who_may_do_what(shop: Shop) -> None:
    await sources.add_source(shop.catalog, "ada", "code", Visibility.PUBLIC)
    await shop.push("v1")
    await shop.push("v2", labels=SOURCE)
    package = await shop.package()
    assert (package.source, package.inherits, package.visibility) == ("ada/code", False, "private")
    assert await manage.list_grants(shop.catalog, package.package_id) == []


async def test_a_source_that_the_pusher_may_not_see_is_not_linked(shop: Shop) -> None:
    await accounts.add_user(shop.catalog, "bob")
    await sources.add_source(shop.catalog, "bob", "hidden")
    hidden = {f"{PREFIX}source": "https://git.example/bob/hidden"}
    await shop.push("v1", labels=hidden)
    assert (await shop.package()).source is None


async def test_what_a_workflow_makes_is_its_sources(shop: Shop) -> None:
    await sources.add_source(shop.catalog, "ada", "code", Visibility.INTERNAL)
    (source_id,) = await asked(shop.catalog, "SELECT id FROM sources")
    workflow = replace(shop.ada, workflow=WorkflowOf(source_id, "automation"))
    await shop.push("v1", subject=workflow)
    package = await shop.package()
    assert (package.source, package.inherits, package.visibility) == ("ada/code", True, "private")
    assert await asked(shop.catalog, "SELECT role FROM package_roles") == []


async def test_immutable_tags_stay(shop: Shop) -> None:
    first = await shop.push("v1", layer=b"one")
    package_id = (await shop.package()).package_id
    await manage.set_immutable_tags(shop.catalog, package_id, immutable=True)
    with pytest.raises(TagImmutable, match="v1 names another manifest"):
        await shop.push("v2", "v1", layer=b"two")
    assert await shop.tags() == {"v1": first}
    assert len(await shop.versions()) == 1
    await shop.push("v1", layer=b"one")
    second = await shop.push("v2", layer=b"two")
    assert await shop.tags() == {"v1": first, "v2": second}
    await manage.set_immutable_tags(shop.catalog, package_id, immutable=False)
    third = await shop.push("v2", layer=b"three")
    assert await shop.tags() == {"v1": first, "v2": third}


async def test_who_comes_second_makes_nothing_and_gets_into_nothing(shop: Shop) -> None:
    """Two members are admitted to make the same name; the first link decides whose it is."""
    await accounts.add_user(shop.catalog, "bob")
    (bob_id,) = await asked(shop.catalog, "SELECT id FROM accounts WHERE name = 'bob'")
    bob = replace(shop.ada, account_id=bob_id, name="bob")
    digest = await shop.push("v1", exists=False)
    with pytest.raises(NameUnknown):
        await shop.push("v2", layer=b"bob's", subject=bob, exists=False)
    assert await shop.tags() == {"v1": digest}
    assert await asked(shop.catalog, "SELECT grantee_id FROM package_roles") == []
    # who made it goes on, however many of its requests were admitted before it was there
    await shop.push("v3", exists=False)
