"""What admins change: visibility, roles, links and modes, grants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.errors import Refused
from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.auth.subjects import ANONYMOUS
from blobd.registry.catalog.packages import Listing
from blobd.registry.errors import NotFound
from blobd.registry.identity import accounts, sources, teams
from blobd.registry.names import RepositoryName
from blobd.registry.packages import manage
from blobd.registry.packages.activity import ActivityRecorder, Pull
from tests.registry.packages.conftest import APP

if TYPE_CHECKING:
    from blobd.digest import Digest
    from tests.registry.packages.conftest import Shop

PUBLIC, PRIVATE, INTERNAL = Visibility.PUBLIC, Visibility.PRIVATE, Visibility.INTERNAL


async def test_public_stays_public_unless_the_operator_lets_it(shop: Shop) -> None:
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    for visibility in (INTERNAL, PRIVATE, PUBLIC):
        await manage.set_visibility(shop.catalog, package_id, visibility, allow_unpublish=False)
        assert (await shop.package()).visibility == visibility
    shop.clock.advance(manage.UNPUBLISH_WITHIN_S + 1)
    await manage.set_visibility(shop.catalog, package_id, PUBLIC, allow_unpublish=False)
    for visibility in (INTERNAL, PRIVATE):
        with pytest.raises(Refused, match=r"registry\.allow_unpublish"):
            await manage.set_visibility(shop.catalog, package_id, visibility, allow_unpublish=False)
    await manage.set_visibility(shop.catalog, package_id, PRIVATE, allow_unpublish=True)
    assert (await shop.package()).visibility == "private"


async def test_what_nobody_has_pulled_is_hidden_again_within_minutes(shop: Shop) -> None:
    digest = await shop.push("v1")
    package_id = (await shop.package()).package_id
    activity = ActivityRecorder(shop.catalog)
    await pull(shop, activity, digest)  # before it was public: somebody who may read it anyway
    shop.clock.advance(1)
    for visibility in (PUBLIC, PRIVATE, PUBLIC):
        await manage.set_visibility(shop.catalog, package_id, visibility, allow_unpublish=False)
        assert (await shop.package()).visibility == visibility
        shop.clock.advance(manage.UNPUBLISH_WITHIN_S - 1)
    await pull(shop, activity, digest)
    with pytest.raises(Refused, match="it has been pulled since"):
        await manage.set_visibility(shop.catalog, package_id, PRIVATE, allow_unpublish=False)


async def pull(shop: Shop, activity: ActivityRecorder, digest: Digest) -> None:
    activity.pulled(Pull(APP, digest, "@198.51.100.7", shop.clock(), is_index=False))
    await activity.flush(settled_s=0)


async def test_roles_are_given_to_people_and_teams(shop: Shop) -> None:
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    await accounts.add_user(shop.catalog, "bob")
    await accounts.add_organisation(shop.catalog, "acme", owner="bob")
    await teams.add_team(shop.catalog, "acme", "core")
    await manage.set_role(shop.catalog, package_id, "bob", Role.READ)
    await manage.set_role(shop.catalog, package_id, "bob", Role.WRITE)
    await manage.set_role(shop.catalog, package_id, "acme/core", Role.ADMIN)
    given = await manage.list_roles(shop.catalog, package_id)
    assert [(one.kind, one.name, one.role) for one in given] == [
        ("team", "acme/core", "admin"),
        ("user", "bob", "write"),
    ]
    await manage.set_role(shop.catalog, package_id, "bob", Role.NONE)
    for nobody in ("bob", "carl", "acme/none", "none/core"):
        with pytest.raises(NotFound):
            await manage.set_role(shop.catalog, package_id, nobody, Role.NONE)


async def test_a_change_of_mode_says_what_it_overwrites(shop: Shop) -> None:
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    for name in ("bob", "carl"):
        await accounts.add_user(shop.catalog, name)
    await sources.add_source(shop.catalog, "ada", "code", PUBLIC)
    await sources.set_source_role(shop.catalog, "ada/code", "carl", Role.WRITE)
    await manage.set_role(shop.catalog, package_id, "bob", Role.READ)
    await manage.set_role(shop.catalog, package_id, "ada", Role.ADMIN)
    with pytest.raises(Refused, match="link it first"):
        await manage.set_inherits(shop.catalog, package_id, inherits=True)
    await manage.link(shop.catalog, package_id, "ada/code")
    assert await manage.list_grants(shop.catalog, package_id) == []
    for dry_run in (True, False):
        shown = await manage.set_inherits(shop.catalog, package_id, inherits=True, dry_run=dry_run)
        assert shown.visibility == "private"
        assert [one.name for one in shown.roles] == ["bob"]
        assert (await shop.package()).inherits is not dry_run
    assert (await shop.package()).visibility == "private"
    # its maker's role stays beside the inherited ones, and may be taken away
    roles = await manage.list_roles(shop.catalog, package_id)
    assert [(one.name, one.inherited) for one in roles] == [("ada", False), ("carl", True)]
    grants = await manage.list_grants(shop.catalog, package_id)
    assert [(one.source, one.kind, one.role) for one in grants] == [
        ("ada/code", "automation", "admin"),
        ("ada/code", "environment", "read"),
    ]
    for change in (
        manage.set_role(shop.catalog, package_id, "bob", Role.READ),
        manage.link(shop.catalog, package_id, None),
    ):
        with pytest.raises(Refused, match="inherits"):
            await change
    await manage.set_role(shop.catalog, package_id, "ada", Role.NONE)
    shown = await manage.set_inherits(shop.catalog, package_id, inherits=False)
    assert [one.name for one in shown.roles] == ["carl"]
    package = await shop.package()
    assert (package.inherits, package.visibility, package.source) == (False, "private", "ada/code")
    assert await manage.list_roles(shop.catalog, package_id) == []
    # the end of the link is the end of what came with it
    assert await manage.list_grants(shop.catalog, package_id) == grants
    await manage.link(shop.catalog, package_id, None)
    assert await manage.list_grants(shop.catalog, package_id) == []


async def test_a_source_that_is_gone_leaves_packages_as_they_are(shop: Shop) -> None:
    await sources.add_source(shop.catalog, "ada", "code", PUBLIC)
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    await manage.link(shop.catalog, package_id, "ada/code")
    await manage.set_inherits(shop.catalog, package_id, inherits=True)
    await manage.set_visibility(shop.catalog, package_id, INTERNAL, allow_unpublish=False)
    await sources.change_source(shop.catalog, "ada/code", visibility=PRIVATE)
    await sources.remove_source(shop.catalog, "ada/code")
    assert (await shop.package()).visibility == "internal"
    assert await manage.list_grants(shop.catalog, package_id) == []
    assert await manage.list_roles(shop.catalog, package_id) == []
    with pytest.raises(NotFound):
        await manage.link(shop.catalog, 4711, "ada/code")


async def test_workflows_are_granted_by_kind(shop: Shop) -> None:
    await sources.add_source(shop.catalog, "ada", "code")
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    await manage.set_grant(shop.catalog, package_id, "ada/code", "automation", Role.WRITE)
    await manage.set_grant(shop.catalog, package_id, "ada/code", "environment", Role.READ)
    grants = await manage.list_grants(shop.catalog, package_id)
    assert [(grant.source, grant.kind, grant.role) for grant in grants] == [
        ("ada/code", "automation", "write"),
        ("ada/code", "environment", "read"),
    ]
    await manage.set_grant(shop.catalog, package_id, "ada/code", "automation", Role.NONE)
    with pytest.raises(NotFound):
        await manage.set_grant(shop.catalog, package_id, "ada/code", "automation", Role.NONE)
    with pytest.raises(RequestInvalid):
        await manage.set_grant(shop.catalog, package_id, "ada/code", "robot", Role.READ)


async def test_lists_are_of_what_may_be_read(shop: Shop) -> None:
    for name in ("a", "b", "c"):
        await shop.push("v1", repository=RepositoryName(f"ada/{name}"))
    package_id = (await shop.package("b")).package_id
    await manage.set_visibility(shop.catalog, package_id, PUBLIC, allow_unpublish=False)
    found, total = await manage.list_packages(shop.catalog, shop.ada, Listing(limit=2))
    assert ([package.name for package in found], total) == (["a", "b"], 3)
    found, total = await manage.list_packages(shop.catalog, ANONYMOUS, Listing(owner="ada"))
    assert ([package.name for package in found], total) == (["b"], 1)
    await shop.trash.delete_package(package_id, shop.ada)
    assert (await manage.list_packages(shop.catalog, ANONYMOUS, Listing()))[1] == 0
    gone, _ = await manage.list_packages(shop.catalog, shop.ada, Listing(deleted=True))
    assert [package.name for package in gone] == ["b"]
