"""What keeps blobs alive, in SQL: pins, links and the blob API's holds.

Every function that makes or ends a hold writes the digest's row in `blobs` before anything else
of that digest, which is what garbage collection locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    union,
    update,
)

from blobd.database.statements import upsert
from blobd.registry.catalog.access import open_to
from blobd.registry.catalog.repositories import find_repository
from blobd.registry.catalog.tables import (
    api_holds,
    blobs,
    links,
    manifest_references,
    pins,
    repositories,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.names import RepositoryName


REMOVAL_S = 120.0
"""How long a digest stays condemned: longer than any removal of its bytes may be under way."""

_BLOB = blobs.c.digest == bindparam("blob")
_LOCK = select(blobs.c.digest).where(_BLOB).with_for_update()
_NOT_CONDEMNED = or_(
    blobs.c.condemned_at.is_(None), blobs.c.condemned_at < bindparam("condemned_before")
)
_CONDEMN = update(blobs).where(_BLOB, _NOT_CONDEMNED).values(condemned_at=bindparam("condemned_at"))
_INSERT_PIN = insert(pins)
_DROP_PIN = delete(pins).where(pins.c.nonce == bindparam("pin"))
_PUBLISH = (
    update(blobs)
    .where(_BLOB)
    .values(
        size_bytes=bindparam("size_bytes"),
        verified_at=bindparam("verified_at"),
        damaged_at=null(),
    )
)
_SET_HOLD_ENDED = update(blobs).where(_BLOB).values(hold_ended_at=bindparam("hold_ended_at"))


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What was made or touched before these moments has lapsed. Seconds since the epoch."""

    pins_before: float
    unnamed_links_before: float


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds a digest, and which of these holds have lapsed."""

    size_bytes: int | None
    links: int
    linked_by: RepositoryName | None
    """One of the repositories that link it, for people to look at."""
    lapsed_links: int
    lapsed_by: RepositoryName | None
    pins: int
    lapsed_pins: int
    api: bool


def lock(transaction: Transaction, digest: Digest) -> bool:
    """Take a digest's row for the rest of the transaction; return whether it is there."""
    return bool(transaction.fetch(_LOCK, {"blob": digest}))


def lock_links(transaction: Transaction, digest: Digest, deadlines: Deadlines) -> None:
    """Take the links of a digest that may have lapsed: nobody touches or names them meanwhile."""
    query = select(links.c.repository_id).where(
        links.c.digest == digest, links.c.touched_at < deadlines.unnamed_links_before
    )
    transaction.execute(query.with_for_update())


def insert_pin(transaction: Transaction, digest: Digest, nonce: str, *, now: float) -> bool:
    """Pin a digest, making its row where there is none; return False if its bytes are condemned."""
    row = {"digest": digest, "condemned_at": None, "condemned_before": now - REMOVAL_S}
    if not upsert(transaction, blobs, row, replace=["condemned_at"], where=_NOT_CONDEMNED):
        return False
    transaction.change(_INSERT_PIN, {"nonce": nonce, "digest": digest, "created_at": now})
    return True


def drop_pin(transaction: Transaction, nonce: str) -> bool:
    """Remove a pin; return whether it was still there."""
    return transaction.change(_DROP_PIN, {"pin": nonce}) > 0


def publish(transaction: Transaction, digest: Digest, size_bytes: int, *, now: float) -> None:
    """Note that verified bytes of a blob have been published; that ends a quarantine."""
    values = {"blob": digest, "size_bytes": size_bytes, "verified_at": now}
    transaction.change(_PUBLISH, values)


def set_hold_ended(transaction: Transaction, digest: Digest, ended_at: float | None) -> None:
    """Put a digest before garbage collection, or with None away from it."""
    transaction.change(_SET_HOLD_ENDED, {"blob": digest, "hold_ended_at": ended_at})


def condemn(transaction: Transaction, digest: Digest, *, now: float) -> bool:
    """Keep pins off a digest from now on; return False where a collector has done so before."""
    values = {"blob": digest, "condemned_at": now, "condemned_before": now - REMOVAL_S}
    return transaction.change(_CONDEMN, values) > 0


def is_condemned(transaction: Transaction, digest: Digest, *, at: float) -> bool:
    """Return whether a digest was condemned at that moment, and by nobody since."""
    query = select(blobs.c.digest).where(blobs.c.digest == digest, blobs.c.condemned_at == at)
    return transaction.execute(query).first() is not None


def forget(transaction: Transaction, digest: Digest) -> None:
    """Remove the row of a digest that nobody holds."""
    transaction.execute(delete(blobs).where(blobs.c.digest == digest))


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


def hold_for_api(transaction: Transaction, digest: Digest) -> None:
    """Make the blob API's hold."""
    upsert(transaction, api_holds, {"digest": digest}, replace=[])


def release_for_api(transaction: Transaction, digest: Digest) -> bool:
    """End the blob API's hold; return whether there was one."""
    result = transaction.execute(delete(api_holds).where(api_holds.c.digest == digest))
    return result.rowcount > 0


def is_held(transaction: Transaction, digest: Digest) -> bool:
    """Return whether anybody holds or pins a digest."""
    for table in (links, pins, api_holds):
        query = select(table.c.digest).where(table.c.digest == digest).limit(1)
        if transaction.execute(query).first() is not None:
            return True
    return False


_NAMED = exists().where(
    and_(
        manifest_references.c.repository_id == links.c.repository_id,
        manifest_references.c.digest == links.c.digest,
    )
)


def candidates(
    transaction: Transaction, deadlines: Deadlines, *, after: Digest | None, limit: int
) -> list[Digest]:
    """Return digests of which a hold has ended or lapsed, in order."""
    ended = select(blobs.c.digest).where(blobs.c.hold_ended_at.is_not(None))
    unnamed = select(links.c.digest).where(
        links.c.touched_at < deadlines.unnamed_links_before, ~_NAMED
    )
    stale = select(pins.c.digest).where(pins.c.created_at < deadlines.pins_before)
    if after is not None:
        ended = ended.where(blobs.c.digest > after)
        unnamed = unnamed.where(links.c.digest > after)
        stale = stale.where(pins.c.digest > after)
    query = union(ended, unnamed, stale).order_by("digest").limit(limit)
    return list(transaction.execute(query).scalars())


def holders(transaction: Transaction, digest: Digest, deadlines: Deadlines) -> Holders:
    """Return who holds a digest."""
    lapsed = and_(links.c.touched_at < deadlines.unnamed_links_before, ~_NAMED)
    linked = select(func.count(), func.min(repositories.c.name)).select_from(
        links.join(repositories, repositories.c.id == links.c.repository_id)
    )
    living = transaction.execute(linked.where(links.c.digest == digest, ~lapsed)).one()
    ending = transaction.execute(linked.where(links.c.digest == digest, lapsed)).one()
    pinned = select(func.count()).select_from(pins).where(pins.c.digest == digest)
    fresh = pinned.where(pins.c.created_at >= deadlines.pins_before)
    stale = pinned.where(pins.c.created_at < deadlines.pins_before)
    held = select(api_holds.c.digest).where(api_holds.c.digest == digest)
    size = select(blobs.c.size_bytes).where(blobs.c.digest == digest)
    return Holders(
        size_bytes=transaction.execute(size).scalar_one_or_none(),
        links=living[0],
        linked_by=living[1],
        lapsed_links=ending[0],
        lapsed_by=ending[1],
        pins=transaction.execute(fresh).scalar_one(),
        lapsed_pins=transaction.execute(stale).scalar_one(),
        api=transaction.execute(held).first() is not None,
    )


def end_lapsed(transaction: Transaction, digest: Digest, deadlines: Deadlines) -> None:
    """Remove the holds of a digest that have lapsed; its row and its links are taken already."""
    transaction.execute(
        delete(links).where(
            links.c.digest == digest, links.c.touched_at < deadlines.unnamed_links_before, ~_NAMED
        )
    )
    transaction.execute(
        delete(pins).where(pins.c.digest == digest, pins.c.created_at < deadlines.pins_before)
    )
