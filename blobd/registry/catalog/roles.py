"""Roles that users and teams were given, on packages and on source repositories, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import case, delete, select

from blobd.registry.catalog.rows import upsert
from blobd.registry.catalog.tables import accounts, package_roles, source_roles, teams

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

    from blobd.registry.catalog.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Grantee:
    """A user or a team, by id."""

    kind: str
    """`user` or `team`."""
    grantee_id: int


@dataclass(frozen=True, slots=True)
class GivenRole:
    """What a user or a team was given."""

    kind: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles on one kind of thing."""

    table: Table
    thing: Column[int]
    """Its column with the id of the thing."""

    def give(self, transaction: Transaction, thing_id: int, to: Grantee, role: str) -> None:
        """Give a role, in the place of what was given before."""
        row = {
            self.thing.name: thing_id,
            "grantee_kind": to.kind,
            "grantee_id": to.grantee_id,
            "role": role,
        }
        upsert(transaction, self.table, row, replace=["role"])

    def take(self, transaction: Transaction, thing_id: int, of: Grantee) -> bool:
        """Take a role away; return whether there was one."""
        gone = delete(self.table).where(
            self.thing == thing_id,
            self.table.c.grantee_kind == of.kind,
            self.table.c.grantee_id == of.grantee_id,
        )
        return transaction.execute(gone).rowcount > 0

    def take_all(self, transaction: Transaction, thing_id: int) -> None:
        """Take all roles on a thing away."""
        transaction.execute(delete(self.table).where(self.thing == thing_id))

    def list(self, transaction: Transaction, thing_id: int) -> list[GivenRole]:
        """Return the roles that were given, by kind and name."""
        roles = self.table
        name = case((roles.c.grantee_kind == "team", teams.c.name), else_=accounts.c.name)
        query = (
            select(roles.c.grantee_kind, name, roles.c.role)
            .outerjoin(
                accounts, (roles.c.grantee_kind == "user") & (accounts.c.id == roles.c.grantee_id)
            )
            .outerjoin(teams, (roles.c.grantee_kind == "team") & (teams.c.id == roles.c.grantee_id))
            .where(self.thing == thing_id)
            .order_by(roles.c.grantee_kind, name)
        )
        return [GivenRole(*row) for row in transaction.execute(query)]


PACKAGE_ROLES = Roles(package_roles, package_roles.c.repository_id)
SOURCE_ROLES = Roles(source_roles, source_roles.c.source_id)
