"""Packages, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.catalog.rows import make_repository, upsert
from blobd.registry.catalog.tables import package_roles, packages

if TYPE_CHECKING:
    from blobd.registry.catalog.transaction import Transaction
    from blobd.registry.names import RepositoryName


@dataclass(frozen=True, slots=True)
class NewPackage:
    """A package to be made."""

    repository: RepositoryName
    owner_id: int
    visibility: str
    source_id: int | None
    inherits: bool
    created_by: int | None


def insert_package(transaction: Transaction, package: NewPackage, *, now: float) -> int:
    """Write a package and its repository, unless somebody else was first; return its id."""
    repository_id = make_repository(transaction, package.repository, now=now)
    row = {
        "repository_id": repository_id,
        "owner_id": package.owner_id,
        "name": package.repository.partition("/")[2],
        "visibility": package.visibility,
        "source_id": package.source_id,
        "inherits": package.inherits,
        "immutable_tags": False,
        "created_by": package.created_by,
        "created_at": now,
        "updated_at": now,
        "downloads": 0,
    }
    upsert(transaction, packages, row, replace=[])
    return repository_id


def set_role(
    transaction: Transaction, repository_id: int, kind: str, grantee_id: int, role: str
) -> None:
    """Give a user or a team a role, instead of what it had."""
    row = {
        "repository_id": repository_id,
        "grantee_kind": kind,
        "grantee_id": grantee_id,
        "role": role,
    }
    upsert(transaction, package_roles, row, replace=["role"])
