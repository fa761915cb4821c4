"""Teams: groups of an organisation's members, to be given roles together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import Refused
from blobd.registry.catalog import accounts, teams
from blobd.registry.catalog.accounts import ORGANISATION, USER
from blobd.registry.errors import AlreadyExists, NotFound
from blobd.registry.identity.accounts import known
from blobd.registry.names import is_account, parse_account

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.registry.catalog.teams import Team, TeamMember


async def add_team(catalog: Catalog, organisation: str, name: str) -> None:
    """Make a team. Raises AccountInvalid, NotFound, AlreadyExists."""
    parse_account(name)

    def add(transaction: Transaction) -> None:
        place = known(transaction, ORGANISATION, organisation)
        if not teams.insert_team(transaction, place.account_id, name):
            raise AlreadyExists("team", f"{organisation}/{name}")

    await catalog.write(add)


async def remove_team(catalog: Catalog, organisation: str, name: str) -> None:
    """Remove a team, with the roles it was given. Raises NotFound."""

    def remove(transaction: Transaction) -> None:
        teams.delete_team(transaction, known_team(transaction, organisation, name))

    await catalog.write(remove)


async def list_teams(catalog: Catalog, organisation: str) -> list[Team]:
    """Return an organisation's teams, by name. Raises NotFound."""

    def find(transaction: Transaction) -> list[Team]:
        place = known(transaction, ORGANISATION, organisation)
        return teams.list_teams(transaction, place.account_id)

    return await catalog.read(find)


async def add_team_member(catalog: Catalog, organisation: str, name: str, user: str) -> None:
    """Put a member of the organisation into a team. Raises NotFound, Refused."""

    def add(transaction: Transaction) -> None:
        place = known(transaction, ORGANISATION, organisation)
        who = known(transaction, USER, user)
        if not accounts.stays_member(transaction, place.account_id, who.account_id):
            raise Refused(f"{user} is no member of {organisation}; add it there first")
        team_id = known_team(transaction, organisation, name)
        teams.insert_team_member(transaction, team_id, who.account_id)

    await catalog.write(add)


async def remove_team_member(catalog: Catalog, organisation: str, name: str, user: str) -> None:
    """Take a user out of a team. Raises NotFound."""

    def remove(transaction: Transaction) -> None:
        who = known(transaction, USER, user)
        team_id = known_team(transaction, organisation, name)
        if not teams.delete_team_member(transaction, team_id, who.account_id):
            raise NotFound("member", f"{user} of {organisation}/{name}")

    await catalog.write(remove)


async def list_team_members(catalog: Catalog, organisation: str, name: str) -> list[TeamMember]:
    """Return the members of a team, by name. Raises NotFound."""

    def find(transaction: Transaction) -> list[TeamMember]:
        team_id = known_team(transaction, organisation, name)
        return teams.list_team_members(transaction, team_id)

    return await catalog.read(find)


def known_team(transaction: Transaction, organisation: str, name: str) -> int:
    """Return a team's id. Raises NotFound."""
    place = known(transaction, ORGANISATION, organisation)
    team_id = teams.find_team(transaction, place.account_id, name) if is_account(name) else None
    if team_id is None:
        raise NotFound("team", f"{organisation}/{name}")
    return team_id
