"""What a subject may read, as a condition on packages: `auth/decide.py` in SQL, for lists.

A property test holds the two to each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, false, or_, select, true

from blobd.registry.auth.roles import READ_PACKAGES, Visibility
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.catalog.tables import (
    memberships,
    package_grants,
    package_roles,
    packages,
    repositories,
    source_roles,
    sources,
    team_members,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, Table

    from blobd.registry.auth.subjects import Subject, WorkflowOf


def readable(subject: Subject) -> ColumnElement[bool]:
    """Return a condition for the rows of `packages` that a subject may read."""
    public = packages.c.visibility == str(Visibility.PUBLIC)
    if not subject.signed_in or not subject.has_scope(READ_PACKAGES):
        return public
    if subject.is_administrator:
        return true()
    internal = packages.c.visibility == str(Visibility.INTERNAL)
    if subject.workflow is not None:
        own = _of_workflow(subject.workflow)
    elif subject.person_id is not None:
        own = _of_person(subject.person_id)
    else:
        own = false()
    return or_(public, internal, own)


def open_to(subject: Subject) -> ColumnElement[bool]:
    """Return a condition for the rows of `repositories` that a subject may read.

    Where there are no identities, those that are no packages are among them; what is deleted
    never is.
    """
    if subject == EVERYONE:
        return ~repositories.c.name.startswith("@")
    ids = select(packages.c.repository_id).where(packages.c.deleted_at.is_(None), readable(subject))
    return repositories.c.id.in_(ids)


def owned_by(account_id: int) -> ColumnElement[bool]:
    """Return a condition for the rows of `sources` whose owner an account is, or owns."""
    return or_(sources.c.owner_id == account_id, sources.c.owner_id.in_(_owned(account_id)))


def given_to(roles: Table, account_id: int) -> ColumnElement[bool]:
    """Return a condition for the roles that an account was given, itself or by its teams."""
    in_teams = select(team_members.c.team_id).where(team_members.c.account_id == account_id)
    return or_(
        and_(roles.c.grantee_kind == "user", roles.c.grantee_id == account_id),
        and_(roles.c.grantee_kind == "team", roles.c.grantee_id.in_(in_teams)),
    )


def _owned(account_id: int) -> Select[int]:
    return select(memberships.c.organisation_id).where(
        memberships.c.account_id == account_id, memberships.c.role == "owner"
    )


def _of_person(account_id: int) -> ColumnElement[bool]:
    given = select(package_roles.c.repository_id).where(given_to(package_roles, account_id))
    owned_sources = select(sources.c.id).where(owned_by(account_id))
    given_sources = select(source_roles.c.source_id).where(given_to(source_roles, account_id))
    return or_(
        packages.c.owner_id == account_id,
        packages.c.owner_id.in_(_owned(account_id)),
        packages.c.repository_id.in_(given),
        and_(
            packages.c.inherits,
            or_(packages.c.source_id.in_(owned_sources), packages.c.source_id.in_(given_sources)),
        ),
    )


def _of_workflow(workflow: WorkflowOf) -> ColumnElement[bool]:
    granted = select(package_grants.c.repository_id).where(
        package_grants.c.source_id == workflow.source_id, package_grants.c.kind == workflow.kind
    )
    return packages.c.repository_id.in_(granted)
