"""Source repositories and the roles there, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, delete, or_, select, update

from blobd.registry.auth.roles import Role
from blobd.registry.catalog.rows import upsert
from blobd.registry.catalog.tables import (
    accounts,
    memberships,
    source_roles,
    sources,
    team_members,
    teams,
)

if TYPE_CHECKING:
    from sqlalchemy import Select, Table

    from blobd.registry.catalog.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Source:
    """A source repository."""

    source_id: int
    owner: str
    name: str
    visibility: str

    @property
    def full_name(self) -> str:
        """`OWNER/NAME`."""
        return f"{self.owner}/{self.name}"


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


_SOURCES = select(sources.c.id, accounts.c.name, sources.c.name, sources.c.visibility).join(
    accounts, accounts.c.id == sources.c.owner_id
)


def find_source(transaction: Transaction, owner: str, name: str) -> Source | None:
    """Return a source repository."""
    row = transaction.execute(
        _SOURCES.where(accounts.c.name == owner, sources.c.name == name)
    ).first()
    return None if row is None else Source(*row)


def get_source(transaction: Transaction, source_id: int) -> Source | None:
    """Return a source repository by its id."""
    row = transaction.execute(_SOURCES.where(sources.c.id == source_id)).first()
    return None if row is None else Source(*row)


def list_sources(transaction: Transaction, owner: str | None) -> list[Source]:
    """Return the source repositories of an account, or all; by name."""
    query = _SOURCES if owner is None else _SOURCES.where(accounts.c.name == owner)
    rows = transaction.execute(query.order_by(accounts.c.name, sources.c.name))
    return [Source(*row) for row in rows]


def insert_source(
    transaction: Transaction, owner_id: int, name: str, visibility: str, *, now: float
) -> bool:
    """Write a source repository; return False where the owner has one of that name."""
    row = {"owner_id": owner_id, "name": name, "visibility": visibility, "created_at": now}
    return upsert(transaction, sources, row, replace=[], unique=("owner_id", "name")) > 0


def set_source_visibility(transaction: Transaction, source_id: int, visibility: str) -> None:
    """Change who may read it without a role."""
    transaction.execute(
        update(sources).where(sources.c.id == source_id).values(visibility=visibility)
    )


def delete_source(transaction: Transaction, source_id: int) -> None:
    """Remove a source repository: packages are linked to it no longer, its tokens are gone."""
    transaction.execute(delete(sources).where(sources.c.id == source_id))


def set_source_role(transaction: Transaction, source_id: int, to: Grantee, role: str) -> None:
    """Give a role, in the place of what was given before."""
    row = {
        "source_id": source_id,
        "grantee_kind": to.kind,
        "grantee_id": to.grantee_id,
        "role": role,
    }
    upsert(transaction, source_roles, row, replace=["role"])


def delete_source_role(transaction: Transaction, source_id: int, of: Grantee) -> bool:
    """Take a role away; return whether there was one."""
    gone = delete(source_roles).where(
        source_roles.c.source_id == source_id,
        source_roles.c.grantee_kind == of.kind,
        source_roles.c.grantee_id == of.grantee_id,
    )
    return transaction.execute(gone).rowcount > 0


def list_source_roles(transaction: Transaction, source_id: int) -> list[GivenRole]:
    """Return the roles that were given, by kind and name."""
    query = named_roles(source_roles).where(source_roles.c.source_id == source_id)
    return [GivenRole(*row) for row in transaction.execute(query)]


def role_of_person(transaction: Transaction, source_id: int, account_id: int) -> Role:
    """Return what a user may do in a source repository: owner, by itself, or by its teams."""
    owned = select(memberships.c.organisation_id).where(
        memberships.c.account_id == account_id, memberships.c.role == "owner"
    )
    owns = select(sources.c.id).where(
        sources.c.id == source_id,
        or_(sources.c.owner_id == account_id, sources.c.owner_id.in_(owned)),
    )
    if transaction.execute(owns).first() is not None:
        return Role.ADMIN
    in_teams = select(team_members.c.team_id).where(team_members.c.account_id == account_id)
    given = select(source_roles.c.role).where(
        source_roles.c.source_id == source_id,
        or_(
            and_(source_roles.c.grantee_kind == "user", source_roles.c.grantee_id == account_id),
            and_(source_roles.c.grantee_kind == "team", source_roles.c.grantee_id.in_(in_teams)),
        ),
    )
    roles = transaction.execute(given).scalars()
    return max(map(Role.parse, roles), default=Role.NONE)


def named_roles(roles: Table) -> Select[str, str, str]:
    """Return a query for a table's roles with the names of who has them."""
    name = case((roles.c.grantee_kind == "team", teams.c.name), else_=accounts.c.name)
    return (
        select(roles.c.grantee_kind, name, roles.c.role)
        .outerjoin(
            accounts, (roles.c.grantee_kind == "user") & (accounts.c.id == roles.c.grantee_id)
        )
        .outerjoin(teams, (roles.c.grantee_kind == "team") & (teams.c.id == roles.c.grantee_id))
        .order_by(roles.c.grantee_kind, name)
    )
