"""Pages of repositories, tags and referrers, in byte order, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVarTuple

from sqlalchemy import func, or_, select

from blobd.registry.catalog.access import open_to
from blobd.registry.catalog.tables import manifests, repositories, tags
from blobd.registry.media_types import normalised

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.names import RepositoryName, Tag

Columns = TypeVarTuple("Columns")


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest or index whose subject was asked for."""

    digest: Digest
    media_type: str
    size_bytes: int
    artifact_type: str | None
    annotations: str | None
    """As JSON."""


def list_repositories(
    transaction: Transaction, subject: Subject, *, after: str, limit: int
) -> list[RepositoryName]:
    """Return names strictly after a text, of what a subject may read."""
    query = select(repositories.c.name).where(repositories.c.name > after, open_to(subject))
    rows = transaction.execute(query.order_by(repositories.c.name).limit(limit))
    return list(rows.scalars())


def list_tags(transaction: Transaction, repository_id: int, *, after: str, limit: int) -> list[Tag]:
    """Return tags strictly after a text."""
    query = select(tags.c.name).where(tags.c.repository_id == repository_id, tags.c.name > after)
    rows = transaction.execute(query.order_by(tags.c.name).limit(limit))
    return list(rows.scalars())


@dataclass(frozen=True, slots=True)
class ReferrersOf:
    """Which referrers are asked for. `artifact_type` None: of every type."""

    repository_id: int
    subject: Digest
    artifact_type: str | None
    after: Digest | None

    def restrict(self, query: Select[*Columns]) -> Select[*Columns]:
        """Return the query, in order, for these referrers alone."""
        query = query.where(
            manifests.c.repository_id == self.repository_id, manifests.c.subject == self.subject
        )
        if self.artifact_type is not None:
            query = query.where(_is_of(self.artifact_type))
        if self.after is not None:
            query = query.where(manifests.c.digest > self.after)
        return query.order_by(manifests.c.digest)


def _is_of(wanted: str) -> ColumnElement[bool]:
    """Return whether a manifest's artifact type is the wanted one, in any letter case and spacing.

    One with parameters is found by its bare type too; a request with parameters gets exact matches
    only.
    """
    kind = func.replace(func.lower(manifests.c.artifact_type), " ", "")
    # the same spelling counts in any case: databases differ in which letters have a lower case
    same = or_(manifests.c.artifact_type == wanted, kind == wanted.lower().replace(" ", ""))
    if ";" in wanted:
        return same
    return or_(same, kind.startswith(f"{normalised(wanted)};", autoescape=True))


def weigh_referrers(
    transaction: Transaction, wanted: ReferrersOf, *, limit: int
) -> list[tuple[Digest, int]]:
    """Return the digests of the first referrers, and how large their manifests are."""
    query = wanted.restrict(select(manifests.c.digest, manifests.c.size_bytes)).limit(limit)
    return [(digest, size_bytes) for digest, size_bytes in transaction.execute(query)]


def read_referrers(transaction: Transaction, wanted: ReferrersOf, *, limit: int) -> list[Referrer]:
    """Return the first referrers."""
    query = wanted.restrict(
        select(
            manifests.c.digest,
            manifests.c.media_type,
            manifests.c.size_bytes,
            manifests.c.artifact_type,
            manifests.c.annotations,
        )
    )
    return [Referrer(*row) for row in transaction.execute(query.limit(limit))]
