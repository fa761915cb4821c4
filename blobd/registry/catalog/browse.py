"""What pages list and REST does not: owners, all tags of a package, what refers to manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from blobd.database.statements import portions
from blobd.registry.catalog.access import readable
from blobd.registry.catalog.packages import HAS_VERSION
from blobd.registry.catalog.tables import accounts, manifests, packages, tags

if TYPE_CHECKING:
    from collections.abc import Collection

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest
    from blobd.registry.auth.subjects import Subject


@dataclass(frozen=True, slots=True)
class Owner:
    """An account that has packages, as one subject may see it."""

    name: str
    kind: str
    package_count: int
    """How many of its packages the subject may read."""


@dataclass(frozen=True, slots=True)
class NamedDigest:
    """A tag, and the manifest that it names."""

    name: str
    digest: Digest
    updated_at: float


@dataclass(frozen=True, slots=True)
class Reference:
    """A manifest that has another one as its subject."""

    subject: Digest
    digest: Digest
    artifact_type: str | None
    pushed_at: float


def list_owners(transaction: Transaction, subject: Subject, *, limit: int) -> list[Owner]:
    """Return the accounts with packages that a subject may read, by name."""
    query = (
        select(accounts.c.name, accounts.c.kind, func.count())
        .select_from(packages)
        .join(accounts, accounts.c.id == packages.c.owner_id)
        .where(packages.c.deleted_at.is_(None), HAS_VERSION, readable(subject))
        .group_by(accounts.c.name, accounts.c.kind)
        .order_by(accounts.c.name)
        .limit(limit)
    )
    return [Owner(*row) for row in transaction.execute(query)]


def all_tags(transaction: Transaction, repository_id: int) -> list[NamedDigest]:
    """Return every tag of a repository, by name."""
    query = select(tags.c.name, tags.c.digest, tags.c.updated_at).where(
        tags.c.repository_id == repository_id
    )
    return [NamedDigest(*row) for row in transaction.execute(query.order_by(tags.c.name))]


def tags_named(
    transaction: Transaction, repository_id: int, names: Collection[str]
) -> list[NamedDigest]:
    """Return which of these tags there are, by name."""
    query = select(tags.c.name, tags.c.digest, tags.c.updated_at).where(
        tags.c.repository_id == repository_id, tags.c.name.in_(sorted(names))
    )
    return [NamedDigest(*row) for row in transaction.execute(query.order_by(tags.c.name))]


def references_to(
    transaction: Transaction, repository_id: int, subjects: Collection[Digest], *, limit: int
) -> list[Reference]:
    """Return the newest manifests whose subject is one of these digests."""
    found: list[Reference] = []
    for some in portions(subjects):
        query = select(
            manifests.c.subject,
            manifests.c.digest,
            manifests.c.artifact_type,
            manifests.c.pushed_at,
        ).where(manifests.c.repository_id == repository_id, manifests.c.subject.in_(some))
        newest = query.order_by(manifests.c.pushed_at.desc(), manifests.c.digest).limit(limit)
        found += [Reference(*row) for row in transaction.execute(newest)]
    return found[:limit]
