"""Packages, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVarTuple

from sqlalchemy import bindparam, delete, exists, func, select, update

from blobd.database.statements import upsert
from blobd.registry.catalog.access import readable
from blobd.registry.catalog.repositories import make_repository
from blobd.registry.catalog.tables import (
    accounts,
    package_grants,
    packages,
    repositories,
    sources,
    versions,
)
from blobd.registry.names import fold_account

if TYPE_CHECKING:
    from sqlalchemy import Select

    from blobd.database.transaction import Transaction
    from blobd.registry.auth.subjects import Subject, WorkflowOf
    from blobd.registry.names import RepositoryName


Columns = TypeVarTuple("Columns")

LINKED_ROLES = {"automation": "admin", "environment": "read"}
"""What workflows may do with a package that they published, or that inherits from their source."""


@dataclass(frozen=True, slots=True)
class NewPackage:
    """A package to be made."""

    repository: RepositoryName
    owner_id: int
    visibility: str
    source_id: int | None
    inherits: bool
    created_by: int | None


@dataclass(frozen=True, slots=True)
class Package:
    """A package as people see it."""

    package_id: int
    repository: RepositoryName
    """What it is stored as; a deleted one's is outside the grammar of names."""
    owner: str
    owner_kind: str
    owner_id: int
    name: str
    """Without the owner, as `app` or `app/worker`."""
    visibility: str
    inherits: bool
    """Whether the roles in the source repository count here too."""
    source_id: int | None
    source: str | None
    """`OWNER/NAME` of the source repository it is linked to."""
    immutable_tags: bool
    sparse_indexes: bool
    """Whether indexes are taken without the manifests that they list."""
    description: str | None
    licences: str | None
    source_url: str | None
    downloads: int
    version_count: int
    created_at: float
    updated_at: float
    deleted_at: float | None


@dataclass(frozen=True, slots=True)
class Published:
    """What a push has to know of its package."""

    owner_id: int
    created_by: int | None
    source_id: int | None
    immutable_tags: bool
    sparse_indexes: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """Which packages are asked for, and which of them in order."""

    owner: str | None = None
    visibility: str | None = None
    deleted: bool = False
    text: str = ""
    """What `OWNER/NAME` has to contain."""
    offset: int = 0
    limit: int = 30


@dataclass(frozen=True, slots=True)
class Grant:
    """What workflows of a source repository may do."""

    source: str
    kind: str
    role: str
    may_publish: bool
    """Whether they may make the package public or internal, too."""


_source_owners = accounts.alias("source_owners")
_SOURCE = (
    select(_source_owners.c.name + "/" + sources.c.name)
    .join(_source_owners, _source_owners.c.id == sources.c.owner_id)
    .where(sources.c.id == packages.c.source_id)
    .scalar_subquery()
)
_VERSIONS = (
    select(func.count())
    .where(versions.c.repository_id == packages.c.repository_id, versions.c.deleted_at.is_(None))
    .scalar_subquery()
)
HAS_VERSION = exists().where(
    versions.c.repository_id == packages.c.repository_id, versions.c.deleted_at.is_(None)
)
"""A condition on packages: without a version it does not exist yet, or no longer does."""
_PACKAGES: Select[*tuple[Any, ...]] = (
    select(
        packages.c.repository_id,
        repositories.c.name,
        accounts.c.name,
        accounts.c.kind,
        packages.c.owner_id,
        packages.c.name,
        packages.c.visibility,
        packages.c.inherits,
        packages.c.source_id,
        _SOURCE,
        packages.c.immutable_tags,
        packages.c.sparse_indexes,
        packages.c.description,
        packages.c.licences,
        packages.c.source_url,
        packages.c.downloads,
        _VERSIONS,
        packages.c.created_at,
        packages.c.updated_at,
        packages.c.deleted_at,
    )
    .join(repositories, repositories.c.id == packages.c.repository_id)
    .join(accounts, accounts.c.id == packages.c.owner_id)
)


_PUBLISHED = select(
    packages.c.owner_id,
    packages.c.created_by,
    packages.c.source_id,
    packages.c.immutable_tags,
    packages.c.sparse_indexes,
).where(packages.c.repository_id == bindparam("package"))


def insert_package(
    transaction: Transaction, package: NewPackage, *, now: float
) -> tuple[int, bool]:
    """Write a package and its repository, unless another transaction was first.

    Returns its id, and whether it is new.
    """
    repository_id = make_repository(transaction, package.repository, now=now)
    row = {
        "repository_id": repository_id,
        "owner_id": package.owner_id,
        "name": package.repository.partition("/")[2],
        "visibility": package.visibility,
        "source_id": package.source_id,
        "inherits": package.inherits,
        "immutable_tags": False,
        "sparse_indexes": False,
        "created_by": package.created_by,
        "created_at": now,
        "updated_at": now,
        "downloads": 0,
    }
    return repository_id, upsert(transaction, packages, row, replace=[]) > 0


def creator(transaction: Transaction, package_id: int) -> int | None:
    """Return the account that made a package; None where there were no identities."""
    query = select(packages.c.created_by).where(packages.c.repository_id == package_id)
    return transaction.execute(query).scalar_one_or_none()


def published_at(transaction: Transaction, package_id: int) -> float | None:
    """Return when a package was made public by an act of its own; None if it never was."""
    query = select(packages.c.published_at).where(packages.c.repository_id == package_id)
    return transaction.execute(query).scalar_one_or_none()


def published(transaction: Transaction, package_id: int) -> Published | None:
    """Return what a push has to know; None where its repository is no package."""
    rows = transaction.fetch(_PUBLISHED, {"package": package_id})
    if not rows:
        return None
    owner_id, created_by, source_id, immutable_tags, sparse_indexes = rows[0]
    return Published(owner_id, created_by, source_id, bool(immutable_tags), bool(sparse_indexes))


def find_package(
    transaction: Transaction, owner: str, name: str, *, deleted: bool = False
) -> Package | None:
    """Return a package; of deleted ones the last that had this name."""
    gone = packages.c.deleted_at.is_not(None) if deleted else packages.c.deleted_at.is_(None)
    query = _PACKAGES.where(accounts.c.name == fold_account(owner), packages.c.name == name, gone)
    row = transaction.execute(query.order_by(packages.c.deleted_at.desc()).limit(1)).first()
    return None if row is None else Package(*row)


def get_package(transaction: Transaction, package_id: int) -> Package | None:
    """Return a package by its id, deleted or not."""
    row = transaction.execute(_PACKAGES.where(packages.c.repository_id == package_id)).first()
    return None if row is None else Package(*row)


def list_packages(transaction: Transaction, subject: Subject, wanted: Listing) -> list[Package]:
    """Return the packages that a subject may read, by owner and name."""
    query = _restrict(_PACKAGES, subject, wanted).order_by(accounts.c.name, packages.c.name)
    rows = transaction.execute(query.offset(wanted.offset).limit(wanted.limit))
    return [Package(*row) for row in rows]


def count_packages(transaction: Transaction, subject: Subject, wanted: Listing) -> int:
    """Return how many packages there are to list."""
    query = select(func.count()).select_from(packages)
    query = query.join(accounts, accounts.c.id == packages.c.owner_id)
    return transaction.execute(_restrict(query, subject, wanted)).scalar_one()


def change_package(transaction: Transaction, package_id: int, **values: object) -> None:
    """Set columns of a package."""
    change = update(packages).where(packages.c.repository_id == package_id)
    transaction.execute(change.values(**values))


def lock_package(transaction: Transaction, package_id: int) -> None:
    """Take a package's row for the rest of the transaction."""
    query = select(packages.c.repository_id).where(packages.c.repository_id == package_id)
    transaction.execute(query.with_for_update())


def set_grant(
    transaction: Transaction,
    package_id: int,
    source_id: int,
    kind: str,
    role: str,
    *,
    may_publish: bool = False,
) -> None:
    """Let a source repository's workflows of a kind do something."""
    row = {
        "repository_id": package_id,
        "source_id": source_id,
        "kind": kind,
        "role": role,
        "may_publish": may_publish,
    }
    upsert(transaction, package_grants, row, replace=["role", "may_publish"])


def grant_to_linked(transaction: Transaction, package_id: int, source_id: int) -> None:
    """Give the workflows of a source repository what those of a publisher have by themselves.

    `automation` is admin of what it publishes, `environment` reads it. Grants that are there stay.
    """
    rows = [
        {
            "repository_id": package_id,
            "source_id": source_id,
            "kind": kind,
            "role": role,
            "may_publish": False,
        }
        for kind, role in LINKED_ROLES.items()
    ]
    upsert(transaction, package_grants, rows, replace=[])


def take_grants(transaction: Transaction, package_id: int, source_id: int) -> bool:
    """Take all from the workflows of a source repository; return whether there was something."""
    gone = delete(package_grants).where(
        package_grants.c.repository_id == package_id, package_grants.c.source_id == source_id
    )
    return transaction.execute(gone).rowcount > 0


def may_publish(transaction: Transaction, package_id: int, workflow: WorkflowOf) -> bool:
    """Return whether a workflow may make a package public or internal."""
    query = select(package_grants.c.may_publish).where(
        package_grants.c.repository_id == package_id,
        package_grants.c.source_id == workflow.source_id,
        package_grants.c.kind == workflow.kind,
    )
    return bool(transaction.execute(query).scalar_one_or_none())


def delete_grant(transaction: Transaction, package_id: int, source_id: int, kind: str) -> bool:
    """Take a grant away; return whether there was one."""
    gone = delete(package_grants).where(
        package_grants.c.repository_id == package_id,
        package_grants.c.source_id == source_id,
        package_grants.c.kind == kind,
    )
    return transaction.execute(gone).rowcount > 0


def list_grants(transaction: Transaction, package_id: int) -> list[Grant]:
    """Return what workflows may do, by source repository and kind."""
    query = (
        select(
            accounts.c.name + "/" + sources.c.name,
            package_grants.c.kind,
            package_grants.c.role,
            package_grants.c.may_publish,
        )
        .join(sources, sources.c.id == package_grants.c.source_id)
        .join(accounts, accounts.c.id == sources.c.owner_id)
        .where(package_grants.c.repository_id == package_id)
        .order_by(accounts.c.name, sources.c.name, package_grants.c.kind)
    )
    return [Grant(*row) for row in transaction.execute(query)]


def _restrict(query: Select[*Columns], subject: Subject, wanted: Listing) -> Select[*Columns]:
    gone = packages.c.deleted_at.is_not(None) if wanted.deleted else packages.c.deleted_at.is_(None)
    query = query.where(gone, readable(subject))
    if not wanted.deleted:
        query = query.where(HAS_VERSION)
    if wanted.owner is not None:
        query = query.where(accounts.c.name == fold_account(wanted.owner))
    if wanted.visibility is not None:
        query = query.where(packages.c.visibility == wanted.visibility)
    if wanted.text:
        path = accounts.c.name + "/" + packages.c.name
        query = query.where(path.contains(wanted.text, autoescape=True))
    return query
