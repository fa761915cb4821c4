"""`blobd package link` and `grant` with their siblings: access to a package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON, PACKAGE
from blobd.cli.opened import change, on_catalog
from blobd.cli.packages import find_package
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config
    from blobd.database import Catalog
    from blobd.registry.catalog.packages import Grant, Package
    from blobd.registry.catalog.roles import GivenRole

_ROLE = click.Choice(["read", "write", "admin"])
_WHO = click.argument("who", metavar="USER|ORGANISATION/TEAM|REPOSITORY")
_WORKFLOWS = click.option(
    "--workflows",
    type=click.Choice(["automation", "environment"]),
    help="REPOSITORY is a source repository (OWNER/NAME): its workflows of this kind.",
)


@click.command
@with_config()
@PACKAGE
@click.argument("repository", metavar="REPOSITORY")
@click.option(
    "--inherit/--no-inherit",
    default=None,
    help="Whether the roles in the source repository count in the package too.",
)
def link(config: Config, full_name: str, repository: str, inherit: bool | None) -> None:  # noqa: FBT001
    """Link a package to the source repository REPOSITORY (OWNER/NAME).

    A link gives nobody rights. With --inherit the roles there count in the package, and those of
    its own end, but for its maker's; with --no-inherit, and without an option, it has roles of its
    own. Workflows of the source repository that it was linked to lose what they were granted.
    """
    from blobd.registry.identity.sources import known_source
    from blobd.registry.packages import manage

    async def link(catalog: Catalog) -> list[GivenRole]:
        found = await find_package(catalog, full_name)
        source = await catalog.read(lambda transaction: known_source(transaction, repository))
        ended: list[GivenRole] = []
        if inherit is False:
            ended = await _set_inherits(catalog, found, inherits=False)
        if source.source_id != found.source_id:
            await manage.link(catalog, found.package_id, repository)
        if inherit:
            ended = await _set_inherits(catalog, found, inherits=True)
        return ended

    how = {None: "", True: " --inherit", False: " --no-inherit"}[inherit]
    ended = change(
        config,
        link,
        noted=f"package link {full_name} {repository}{how}",
        said=f"{full_name} is linked to {repository}"
        + {None: "", True: " and inherits its roles", False: " and has roles of its own"}[inherit],
        package=full_name,
    )
    _say_ended(ended)


@click.command
@with_config()
@PACKAGE
@click.option("--no-inherit", is_flag=True, help="End that it inherits roles first.")
def unlink(config: Config, full_name: str, no_inherit: bool) -> None:  # noqa: FBT001
    """End a package's link to its source repository, and what was granted to workflows there.

    One that inherits roles from it is refused without --no-inherit.
    """
    from blobd.registry.packages import manage

    async def unlink(catalog: Catalog) -> list[GivenRole]:
        found = await find_package(catalog, full_name)
        ended = await _set_inherits(catalog, found, inherits=False) if no_inherit else []
        await manage.link(catalog, found.package_id, None)
        return ended

    ended = change(
        config,
        unlink,
        noted=f"package unlink {full_name}{' --no-inherit' if no_inherit else ''}",
        said=f"{full_name} is linked to no source repository",
        package=full_name,
    )
    _say_ended(ended)


@click.command
@with_config()
@PACKAGE
@JSON
def roles(config: Config, full_name: str, as_json: bool) -> None:  # noqa: FBT001
    """List who has access: users, teams, and workflows of source repositories."""
    from blobd.registry.packages import manage

    async def find(catalog: Catalog) -> tuple[list[GivenRole], list[Grant]]:
        package_id = (await find_package(catalog, full_name)).package_id
        return (
            await manage.list_roles(catalog, package_id),
            await manage.list_grants(catalog, package_id),
        )

    given, granted = on_catalog(config, find)
    rows = [
        (each.kind, each.name, each.role, "inherited" if each.inherited else "") for each in given
    ]
    rows += [
        (f"{each.kind} workflows", each.source, each.role, "publishes" if each.may_publish else "")
        for each in granted
    ]
    show.records(("kind", "name", "role", "note"), rows, as_json=as_json)


@click.command
@with_config()
@PACKAGE
@_WHO
@click.argument("role", type=_ROLE)
@_WORKFLOWS
@click.option("--may-publish", is_flag=True, help="Those workflows may make it public, too.")
def grant(
    config: Config,
    full_name: str,
    who: str,
    role: str,
    workflows: str | None,
    may_publish: bool,  # noqa: FBT001
) -> None:
    """Give a user, a team or the workflows of a source repository a role in a package.

    Users and teams get none in one that inherits; give it to them in its source repository.
    """
    from blobd.registry.auth.roles import Role
    from blobd.registry.packages import manage

    if may_publish and workflows is None:
        raise click.UsageError("--may-publish is for --workflows; people who are admins may")

    async def give(catalog: Catalog) -> None:
        package_id = (await find_package(catalog, full_name)).package_id
        if workflows is None:
            await manage.set_role(catalog, package_id, who, Role.parse(role))
        else:
            await manage.set_grant(
                catalog, package_id, who, workflows, Role.parse(role), may_publish=may_publish
            )

    publish = " --may-publish" if may_publish else ""
    change(
        config,
        give,
        noted=f"package grant {full_name} {who} {role}{_flag(workflows)}{publish}",
        said=f"{_named(who, workflows)} has the role {role} in {full_name}"
        + (", and may publish it" if may_publish else ""),
        package=full_name,
    )


@click.command
@with_config()
@PACKAGE
@_WHO
@_WORKFLOWS
def revoke(config: Config, full_name: str, who: str, workflows: str | None) -> None:
    """Take the role in a package away that a user, a team or workflows were given."""
    from blobd.registry.auth.roles import Role
    from blobd.registry.packages import manage

    async def take(catalog: Catalog) -> None:
        package_id = (await find_package(catalog, full_name)).package_id
        if workflows is None:
            await manage.set_role(catalog, package_id, who, Role.NONE)
        else:
            await manage.set_grant(catalog, package_id, who, workflows, Role.NONE)

    change(
        config,
        take,
        noted=f"package revoke {full_name} {who}{_flag(workflows)}",
        said=f"{_named(who, workflows)} has no role of its own in {full_name}",
        package=full_name,
    )


async def _set_inherits(catalog: Catalog, found: Package, *, inherits: bool) -> list[GivenRole]:
    from blobd.registry.packages import manage

    overwritten = await manage.set_inherits(catalog, found.package_id, inherits=inherits)
    return list(overwritten.roles)


def _say_ended(ended: list[GivenRole]) -> None:
    for each in ended:
        where = " (inherited)" if each.inherited else ""
        click.echo(f"ended: {each.kind} {each.name} {each.role}{where}")


def _flag(workflows: str | None) -> str:
    return "" if workflows is None else f" --workflows {workflows}"


def _named(who: str, workflows: str | None) -> str:
    return who if workflows is None else f"{workflows} of {who}"
