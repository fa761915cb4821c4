"""`blobd repo`: source repositories, which packages are linked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import change, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config

_VISIBILITY = click.Choice(["private", "internal", "public"])
_REPO = click.argument("full_name", metavar="OWNER/NAME")
_HOST = click.option(
    "--host", help="The host that labels name it by, as github.com; empty: the registry's own."
)


@click.group
def repo() -> None:
    """Create source repositories and manage access to them.

    A package that is linked to one can inherit its roles.
    """


@repo.command("add")
@with_config()
@_REPO
@click.option("--visibility", type=_VISIBILITY, default="private", help="Who can read it.")
@_HOST
def add_repo(config: Config, full_name: str, visibility: str, host: str | None) -> None:
    """Name a source repository."""
    from blobd.registry.auth.roles import Visibility
    from blobd.registry.identity import sources

    owner, _, name = full_name.partition("/")
    change(
        config,
        lambda catalog: sources.add_source(
            catalog, owner, name, Visibility(visibility), host=host or ""
        ),
        noted=f"repo add {full_name}",
        said=f"named the {visibility} source repository {full_name}",
    )


@repo.command("rm")
@with_config()
@_REPO
def remove_repo(config: Config, full_name: str) -> None:
    """Forget a source repository: its packages are unlinked, its tokens and grants gone."""
    from blobd.registry.identity import sources

    change(
        config,
        lambda catalog: sources.remove_source(catalog, full_name),
        noted=f"repo rm {full_name}",
        said=f"forgot the source repository {full_name}: its packages are unlinked, "
        "its tokens and grants gone",
    )


@repo.command("ls")
@with_config()
@click.option("--owner", help="Of this account alone.")
@JSON
def list_repos(config: Config, owner: str | None, as_json: bool) -> None:  # noqa: FBT001
    """List source repositories."""
    from blobd.registry.identity import sources

    found = on_catalog(config, lambda catalog: sources.list_sources(catalog, owner))
    rows = [
        (
            source.full_name,
            source.visibility,
            source.host,
            "writers" if source.writers_link else "admins",
        )
        for source in found
    ]
    show.records(("repository", "visibility", "host", "labels of"), rows, as_json=as_json)


@repo.command("visibility")
@with_config()
@_REPO
@click.argument("visibility", type=_VISIBILITY)
def set_visibility(config: Config, full_name: str, visibility: str) -> None:
    """Change who can read it without a role; packages are not affected."""
    from blobd.registry.auth.roles import Visibility
    from blobd.registry.identity import sources

    change(
        config,
        lambda catalog: sources.change_source(
            catalog, full_name, visibility=Visibility(visibility)
        ),
        noted=f"repo visibility {full_name} {visibility}",
        said=f"{full_name} is {visibility}",
    )


@repo.command("set")
@with_config()
@_REPO
@_HOST
@click.option(
    "--writers-link/--admins-link",
    "writers_link",
    default=None,
    help="Whether labels of its writers link packages to it, or only those of its admins.",
)
def set_repo(
    config: Config,
    full_name: str,
    host: str | None,
    writers_link: bool | None,  # noqa: FBT001
) -> None:
    """Say which labels link packages to it; what is not named stays."""
    from blobd.registry.identity import sources

    if host is None and writers_link is None:
        raise click.UsageError("name a setting to change, such as --writers-link")
    changes = {"host": host, "writers_link": writers_link}
    said = " ".join(f"{key}={value}" for key, value in changes.items() if value is not None)
    change(
        config,
        lambda catalog: sources.change_source(
            catalog, full_name, host=host, writers_link=writers_link
        ),
        noted=f"repo set {full_name} {said}",
        said=f"{full_name}: {said}",
    )


@repo.command("roles")
@with_config()
@_REPO
@JSON
def list_roles(config: Config, full_name: str, as_json: bool) -> None:  # noqa: FBT001
    """List who was given what."""
    from blobd.registry.identity import sources

    found = on_catalog(config, lambda catalog: sources.list_source_roles(catalog, full_name))
    rows = [(given.kind, given.name, given.role) for given in found]
    show.records(("kind", "name", "role"), rows, as_json=as_json)


@repo.command("grant")
@with_config()
@_REPO
@click.argument("grantee", metavar="USER|ORGANISATION/TEAM")
@click.argument("role", type=click.Choice(["read", "write", "admin", "none"]))
def set_role(config: Config, full_name: str, grantee: str, role: str) -> None:
    """Give a user or a team a role; `none` takes it away."""
    from blobd.registry.auth.roles import Role
    from blobd.registry.identity import sources

    change(
        config,
        lambda catalog: sources.set_source_role(catalog, full_name, grantee, Role[role.upper()]),
        noted=f"repo grant {full_name} {grantee} {role}",
        said=f"{grantee} has {'no role' if role == 'none' else f'the role {role}'} in {full_name}",
    )
