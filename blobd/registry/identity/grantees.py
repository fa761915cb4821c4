"""Who can be given a role: a user by name, or a team as ORGANISATION/TEAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.registry.catalog.accounts import USER
from blobd.registry.catalog.sources import Grantee
from blobd.registry.identity.accounts import known
from blobd.registry.identity.teams import known_team

if TYPE_CHECKING:
    from blobd.registry.catalog import Transaction


def known_grantee(transaction: Transaction, text: str) -> Grantee:
    """Return whom a text names. Raises Unknown."""
    organisation, slash, team = text.partition("/")
    if slash:
        return Grantee("team", known_team(transaction, organisation, team))
    return Grantee("user", known(transaction, USER, text).account_id)
