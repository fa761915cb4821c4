"""Who can be given a role: a user by name, or a team as ORGANISATION/TEAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Role
from blobd.registry.catalog.accounts import USER
from blobd.registry.catalog.roles import Principal, Roles
from blobd.registry.errors import NotFound
from blobd.registry.identity.accounts import known
from blobd.registry.identity.teams import known_team

if TYPE_CHECKING:
    from blobd.database import Transaction


def change_role(
    transaction: Transaction, roles: Roles, thing_id: int, grantee: str, role: Role
) -> None:
    """Give a user or a team a role on a thing; NONE takes it away. Raises NotFound."""
    who = known_grantee(transaction, grantee)
    if role is not Role.NONE:
        roles.give(transaction, thing_id, who, str(role))
    elif not roles.take(transaction, thing_id, who):
        raise NotFound("role", f"of {grantee}")


def known_grantee(transaction: Transaction, text: str) -> Principal:
    """Return whom a text names. Raises NotFound."""
    organisation, slash, team = text.partition("/")
    if slash:
        return Principal("team", known_team(transaction, organisation, team))
    return Principal("user", known(transaction, USER, text).account_id)
