"""What admins change: visibility, roles, links and modes, grants (issue 5, item 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.errors import Refused, RequestInvalid, Unknown
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.auth.subjects import ANONYMOUS
from blobd.registry.catalog.packages import Listing
from blobd.registry.identity import accounts, sources, teams
from blobd.registry.names import RepositoryName
from blobd.registry.packages import manage

if TYPE_CHECKING:
    from tests.registry.packages.conftest import Shop

PUBLIC, PRIVATE, INTERNAL = Visibility.PUBLIC, Visibility.PRIVATE, Visibility.INTERNAL


async def test_public_stays_public_unless_the_operator_lets_it(shop: Shop) -> None:
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    for visibility in (INTERNAL, PRIVATE, PUBLIC, PUBLIC):
        await manage.set_visibility(shop.catalog, package_id, visibility, allow_unpublish=False)
        assert (await shop.package()).visibility == visibility
    for visibility in (INTERNAL, PRIVATE):
        with pytest.raises(Refused, match=r"registry\.allow_unpublish"):
            await manage.set_visibility(shop.catalog, package_id, visibility, allow_unpublish=False)
    await manage.set_visibility(shop.catalog, package_id, PRIVATE, allow_unpublish=True)
    assert (await shop.package()).visibility == "private"


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
        ("team", "core", "admin"),
        ("user", "bob", "write"),
    ]
    await manage.set_role(shop.catalog, package_id, "bob", Role.NONE)
    for nobody in ("bob", "carl", "acme/none", "none/core"):
        with pytest.raises(Unknown):
            await manage.set_role(shop.catalog, package_id, nobody, Role.NONE)


async def test_a_change_of_mode_says_what_it_overwrites(shop: Shop) -> None:
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    for name in ("bob", "carl"):
        await accounts.add_user(shop.catalog, name)
    await sources.add_source(shop.catalog, "ada", "code", PUBLIC)
    await sources.set_source_role(shop.catalog, "ada/code", "carl", Role.WRITE)
    await manage.set_role(shop.catalog, package_id, "bob", Role.READ)
    with pytest.raises(Refused, match="link it first"):
        await manage.set_inherits(shop.catalog, package_id, inherits=True, allow_unpublish=False)
    await manage.link(shop.catalog, package_id, "ada/code")
    assert (await shop.package()).visibility == "private"
    for dry_run in (True, False):
        shown = await manage.set_inherits(
            shop.catalog, package_id, inherits=True, allow_unpublish=False, dry_run=dry_run
        )
        assert shown.visibility == "private"
        assert [one.name for one in shown.roles] == ["bob"]
        assert (await shop.package()).inherits is not dry_run
    assert (await shop.package()).visibility == "public"
    assert [one.name for one in await manage.list_roles(shop.catalog, package_id)] == ["carl"]
    for change in (
        manage.set_role(shop.catalog, package_id, "bob", Role.READ),
        manage.set_visibility(shop.catalog, package_id, PUBLIC, allow_unpublish=True),
        manage.link(shop.catalog, package_id, None),
    ):
        with pytest.raises(Refused, match="inherits"):
            await change
    shown = await manage.set_inherits(
        shop.catalog, package_id, inherits=False, allow_unpublish=False
    )
    assert [one.name for one in shown.roles] == ["carl"]
    package = await shop.package()
    assert (package.inherits, package.visibility, package.source) == (False, "public", "ada/code")
    assert await manage.list_roles(shop.catalog, package_id) == []
    await sources.set_source_visibility(shop.catalog, "ada/code", PRIVATE)
    with pytest.raises(Refused, match="allow_unpublish"):
        await manage.set_inherits(shop.catalog, package_id, inherits=True, allow_unpublish=False)


async def test_a_source_that_is_gone_leaves_packages_private(shop: Shop) -> None:
    await sources.add_source(shop.catalog, "ada", "code", PUBLIC)
    await shop.push("v1")
    package_id = (await shop.package()).package_id
    await manage.link(shop.catalog, package_id, "ada/code")
    await manage.set_inherits(shop.catalog, package_id, inherits=True, allow_unpublish=False)
    await sources.remove_source(shop.catalog, "ada/code")
    assert (await shop.package()).visibility == "private"
    with pytest.raises(Unknown):
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
    with pytest.raises(Unknown):
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
