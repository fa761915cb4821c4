"""`blobd team`: groups of an organisation's members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import change, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config


class _TeamName(click.ParamType[tuple[str, str]]):
    """ORGANISATION/TEAM, as its two parts."""

    name = "ORGANISATION/TEAM"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        organisation, slash, team = value.partition("/")
        if not slash:
            self.fail(f"{value} is not ORGANISATION/TEAM", param, ctx)
        return organisation, team


_TEAM = click.argument("team_name", metavar="ORGANISATION/TEAM", type=_TeamName())


@click.group
def team() -> None:
    """Create teams and manage their members; a team is given roles like a user."""


@team.command("add")
@with_config()
@_TEAM
def add_team(config: Config, team_name: tuple[str, str]) -> None:
    """Make a team."""
    from blobd.registry.identity import teams

    change(
        config,
        lambda catalog: teams.add_team(catalog, *team_name),
        noted=f"team add {'/'.join(team_name)}",
        said=f"made the team {'/'.join(team_name)}",
    )


@team.command("rm")
@with_config()
@_TEAM
def remove_team(config: Config, team_name: tuple[str, str]) -> None:
    """Remove a team, with the roles it was given."""
    from blobd.registry.identity import teams

    change(
        config,
        lambda catalog: teams.remove_team(catalog, *team_name),
        noted=f"team rm {'/'.join(team_name)}",
        said=f"removed the team {'/'.join(team_name)}, with all that it was given",
    )


@team.command("ls")
@with_config()
@click.argument("organisation")
@JSON
def list_teams(config: Config, organisation: str, as_json: bool) -> None:  # noqa: FBT001
    """List an organisation's teams."""
    from blobd.registry.identity import teams

    found = on_catalog(config, lambda catalog: teams.list_teams(catalog, organisation))
    show.records(("team",), [(each.name,) for each in found], as_json=as_json)


@team.command("join")
@with_config()
@_TEAM
@click.argument("user_name", metavar="USER")
def add_member(config: Config, team_name: tuple[str, str], user_name: str) -> None:
    """Put a member of the organisation into a team."""
    from blobd.registry.identity import teams

    change(
        config,
        lambda catalog: teams.add_team_member(catalog, *team_name, user_name),
        noted=f"team join {'/'.join(team_name)} {user_name}",
        said=f"{user_name} is in {'/'.join(team_name)}",
    )


@team.command("leave")
@with_config()
@_TEAM
@click.argument("user_name", metavar="USER")
def remove_member(config: Config, team_name: tuple[str, str], user_name: str) -> None:
    """Take a user out of a team."""
    from blobd.registry.identity import teams

    change(
        config,
        lambda catalog: teams.remove_team_member(catalog, *team_name, user_name),
        noted=f"team leave {'/'.join(team_name)} {user_name}",
        said=f"{user_name} is not in {'/'.join(team_name)}",
    )


@team.command("members")
@with_config()
@_TEAM
@JSON
def list_members(config: Config, team_name: tuple[str, str], as_json: bool) -> None:  # noqa: FBT001
    """List the members of a team."""
    from blobd.registry.identity import teams

    found = on_catalog(config, lambda catalog: teams.list_team_members(catalog, *team_name))
    show.records(("user",), [(each.name,) for each in found], as_json=as_json)
