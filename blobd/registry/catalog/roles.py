"""Roles that users and teams were given, on packages and on source repositories, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import case, delete, or_, select, true

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import accounts, package_roles, source_roles, teams

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement, Table

    from blobd.database.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Principal:
    """A user or a team, by id."""

    kind: str
    """`user` or `team`."""
    grantee_id: int


@dataclass(frozen=True, slots=True)
class GivenRole:
    """What a user or a team was given."""

    kind: str
    name: str
    """By which a role is given and taken away: a user's, or ORGANISATION/TEAM."""
    role: str
    inherited: bool = False
    """Whether a package has it from the source repository that it inherits from."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles on one kind of thing."""

    table: Table
    thing: Column[int]
    """Its column with the id of the thing."""

    def give(self, transaction: Transaction, thing_id: int, to: Principal, role: str) -> None:
        """Give a role, in the place of what was given before."""
        row = {
            self.thing.name: thing_id,
            "grantee_kind": to.kind,
            "grantee_id": to.grantee_id,
            "role": role,
        }
        upsert(transaction, self.table, row, replace=["role"])

    def take(self, transaction: Transaction, thing_id: int, of: Principal) -> bool:
        """Take a role away; return whether there was one."""
        gone = delete(self.table).where(
            self.thing == thing_id,
            self.table.c.grantee_kind == of.kind,
            self.table.c.grantee_id == of.grantee_id,
        )
        return transaction.execute(gone).rowcount > 0

    def take_all(
        self, transaction: Transaction, thing_id: int, *, but: Principal | None = None
    ) -> None:
        """Take all roles on a thing away, of everybody but one."""
        transaction.execute(delete(self.table).where(self.thing == thing_id, self._others(but)))

    def list(
        self, transaction: Transaction, thing_id: int, *, but: Principal | None = None
    ) -> list[GivenRole]:
        """Return the roles that were given to everybody but one, by kind and name."""
        roles = self.table
        owners = accounts.alias()
        team = owners.c.name.concat("/").concat(teams.c.name)
        name = case((roles.c.grantee_kind == "team", team), else_=accounts.c.name)
        query = (
            select(roles.c.grantee_kind, name, roles.c.role)
            .outerjoin(
                accounts, (roles.c.grantee_kind == "user") & (accounts.c.id == roles.c.grantee_id)
            )
            .outerjoin(teams, (roles.c.grantee_kind == "team") & (teams.c.id == roles.c.grantee_id))
            .outerjoin(owners, owners.c.id == teams.c.organisation_id)
            .where(self.thing == thing_id, self._others(but))
            .order_by(roles.c.grantee_kind, name)
        )
        return [GivenRole(*row) for row in transaction.execute(query)]

    def _others(self, but: Principal | None) -> ColumnElement[bool]:
        if but is None:
            return true()
        grantee = self.table.c
        return or_(grantee.grantee_kind != but.kind, grantee.grantee_id != but.grantee_id)


PACKAGE_ROLES = Roles(package_roles, package_roles.c.repository_id)
SOURCE_ROLES = Roles(source_roles, source_roles.c.source_id)
