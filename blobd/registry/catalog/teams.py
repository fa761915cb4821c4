"""Teams, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import accounts, package_roles, source_roles, team_members, teams
from blobd.registry.names import fold_account

if TYPE_CHECKING:
    from blobd.database.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Team:
    """A group of an organisation's members."""

    team_id: int
    name: str


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A member of a team."""

    account_id: int
    name: str


def find_team(transaction: Transaction, organisation_id: int, name: str) -> int | None:
    """Return a team's id."""
    query = select(teams.c.id).where(
        teams.c.organisation_id == organisation_id, teams.c.name == fold_account(name)
    )
    return transaction.execute(query).scalar_one_or_none()


def insert_team(transaction: Transaction, organisation_id: int, name: str) -> bool:
    """Write a team; return False where the organisation has one of that name."""
    row = {"organisation_id": organisation_id, "name": fold_account(name)}
    return upsert(transaction, teams, row, replace=[], unique=("organisation_id", "name")) > 0


def delete_team(transaction: Transaction, team_id: int) -> None:
    """Remove a team with its members, and all that it was given."""
    for roles in (package_roles, source_roles):
        transaction.execute(
            delete(roles).where(roles.c.grantee_kind == "team", roles.c.grantee_id == team_id)
        )
    transaction.execute(delete(team_members).where(team_members.c.team_id == team_id))
    transaction.execute(delete(teams).where(teams.c.id == team_id))


def list_teams(transaction: Transaction, organisation_id: int) -> list[Team]:
    """Return an organisation's teams, by name."""
    query = select(teams.c.id, teams.c.name).where(teams.c.organisation_id == organisation_id)
    return [Team(*row) for row in transaction.execute(query.order_by(teams.c.name))]


def insert_team_member(transaction: Transaction, team_id: int, account_id: int) -> None:
    """Let a user be in a team."""
    upsert(transaction, team_members, {"team_id": team_id, "account_id": account_id}, replace=[])


def delete_team_member(transaction: Transaction, team_id: int, account_id: int) -> bool:
    """Let a user be in a team no longer; return whether it was."""
    gone = delete(team_members).where(
        team_members.c.team_id == team_id, team_members.c.account_id == account_id
    )
    return transaction.execute(gone).rowcount > 0


def delete_from_teams(transaction: Transaction, organisation_id: int, account_id: int) -> None:
    """Let a user be in no team of an organisation any longer."""
    ids = select(teams.c.id).where(teams.c.organisation_id == organisation_id)
    transaction.execute(
        delete(team_members).where(
            team_members.c.account_id == account_id, team_members.c.team_id.in_(ids)
        )
    )


def list_team_members(transaction: Transaction, team_id: int) -> list[TeamMember]:
    """Return the members of a team, by name."""
    query = (
        select(accounts.c.id, accounts.c.name)
        .join(team_members, team_members.c.account_id == accounts.c.id)
        .where(team_members.c.team_id == team_id)
        .order_by(accounts.c.name)
    )
    return [TeamMember(*row) for row in transaction.execute(query)]
