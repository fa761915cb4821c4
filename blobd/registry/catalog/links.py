"""Links, in SQL: what a repository may see, and the registry's kind of reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, exists, select, update

from blobd.database.statements import upsert
from blobd.references.kinds import Kind, Lapse
from blobd.references.tables import blobs
from blobd.registry.catalog.access import open_to
from blobd.registry.catalog.repositories import find_repository
from blobd.registry.catalog.tables import links, manifest_references, repositories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select

    from blobd.database import Transaction
    from blobd.digest import Digest
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.names import RepositoryName

_NAMED = exists().where(
    and_(
        manifest_references.c.repository_id == links.c.repository_id,
        manifest_references.c.digest == links.c.digest,
    )
)

LINKS = Kind(
    links,
    links.c.digest,
    "linked by {holder}",
    holder=select(repositories.c.name)
    .where(repositories.c.id == links.c.repository_id)
    .scalar_subquery(),
    lapse=Lapse(
        lambda graces: graces.unnamed_link_grace_s,
        since=links.c.touched_at,
        reason="no manifest of {holder} names it, and no pusher asked for it",
        unless=_NAMED,
        renewed_alone=True,
    ),
)


def link(transaction: Transaction, repository_id: int, digest: Digest, *, now: float) -> None:
    """Link a blob to a repository; a link that is there is touched."""
    row = {"repository_id": repository_id, "digest": digest, "touched_at": now}
    upsert(transaction, links, row, replace=["touched_at"])


def unlink(transaction: Transaction, repository: RepositoryName, digest: Digest) -> bool:
    """Remove a link; return whether there was one."""
    repository_id = find_repository(transaction, repository)
    result = transaction.execute(
        delete(links).where(links.c.repository_id == repository_id, links.c.digest == digest)
    )
    return result.rowcount > 0


def is_linked(transaction: Transaction, digest: Digest, by: Sequence[RepositoryName]) -> bool:
    """Return whether one of these repositories links a blob, and it is not quarantined."""
    ids = select(repositories.c.id).where(repositories.c.name.in_(by))
    return _is_linked(transaction, digest, ids)


def is_linked_for(transaction: Transaction, digest: Digest, subject: Subject) -> bool:
    """Return whether a repository that a subject may read links a blob that is not quarantined."""
    ids = select(repositories.c.id).where(open_to(subject))
    return _is_linked(transaction, digest, ids)


def _is_linked(transaction: Transaction, digest: Digest, ids: Select[tuple[int]]) -> bool:
    query = (
        select(links.c.digest)
        .join(blobs, blobs.c.digest == links.c.digest)
        .where(
            links.c.digest == digest, links.c.repository_id.in_(ids), blobs.c.damaged_at.is_(None)
        )
    )
    return transaction.execute(query.limit(1)).first() is not None


def touch(transaction: Transaction, touched: Mapping[tuple[RepositoryName, Digest], float]) -> None:
    """Note when links were last used by a pusher; links that have gone stay gone."""
    if not touched:
        return
    ids = select(repositories.c.id).where(repositories.c.name == bindparam("name"))
    statement = (
        update(links)
        .where(
            links.c.repository_id == ids.scalar_subquery(),
            links.c.digest == bindparam("blob"),
            links.c.touched_at < bindparam("at"),
        )
        .values(touched_at=bindparam("at"))
    )
    transaction.execute(
        statement,
        [
            {"name": name, "blob": digest, "at": at}
            for (name, digest), at in sorted(touched.items())
        ],
    )
