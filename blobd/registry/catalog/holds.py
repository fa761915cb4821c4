"""What keeps blobs alive, in SQL: pins, links and the blob API's holds.

Every function that makes or ends a hold writes the digest's row in `blobs` before anything else
of that digest, which is what garbage collection locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, exists, func, insert, select, union, update

from blobd.registry.catalog.rows import find_repository, make_repository, upsert
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

    from blobd.digest import Digest
    from blobd.registry.catalog.transaction import Transaction
    from blobd.registry.names import RepositoryName


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


async def lock(transaction: Transaction, digest: Digest) -> bool:
    """Take a digest's row for the rest of the transaction; return whether it is there."""
    query = select(blobs.c.digest).where(blobs.c.digest == digest).with_for_update()
    return (await transaction.execute(query)).first() is not None


async def lock_links(transaction: Transaction, digest: Digest, deadlines: Deadlines) -> None:
    """Take the links of a digest that may have lapsed: nobody touches or names them meanwhile."""
    query = select(links.c.repository_id).where(
        links.c.digest == digest, links.c.touched_at < deadlines.unnamed_links_before
    )
    await transaction.execute(query.with_for_update())


async def insert_pin(transaction: Transaction, digest: Digest, nonce: str, *, now: float) -> None:
    """Pin a digest, making its row where there is none."""
    await upsert(transaction, blobs, {"digest": digest}, replace=["digest"])
    await transaction.execute(insert(pins), {"nonce": nonce, "digest": digest, "created_at": now})


async def drop_pin(transaction: Transaction, nonce: str) -> bool:
    """Remove a pin; return whether it was still there."""
    return (await transaction.execute(delete(pins).where(pins.c.nonce == nonce))).rowcount > 0


async def set_size(transaction: Transaction, digest: Digest, size_bytes: int) -> None:
    """Note the size of a blob that has been published."""
    await transaction.execute(
        update(blobs).where(blobs.c.digest == digest).values(size_bytes=size_bytes)
    )


async def set_hold_ended(transaction: Transaction, digest: Digest, ended_at: float | None) -> None:
    """Put a digest before garbage collection, or with None away from it."""
    await transaction.execute(
        update(blobs).where(blobs.c.digest == digest).values(hold_ended_at=ended_at)
    )


async def forget(transaction: Transaction, digest: Digest) -> None:
    """Remove the row of a digest that nobody holds."""
    await transaction.execute(delete(blobs).where(blobs.c.digest == digest))


async def link(
    transaction: Transaction, repository: RepositoryName, digest: Digest, *, now: float
) -> None:
    """Link a blob to a repository, made where there is none; a link that is there is touched."""
    repository_id = await make_repository(transaction, repository, now=now)
    row = {"repository_id": repository_id, "digest": digest, "touched_at": now}
    await upsert(transaction, links, row, replace=["touched_at"])


async def unlink(transaction: Transaction, repository: RepositoryName, digest: Digest) -> bool:
    """Remove a link; return whether there was one."""
    repository_id = await find_repository(transaction, repository)
    result = await transaction.execute(
        delete(links).where(links.c.repository_id == repository_id, links.c.digest == digest)
    )
    return result.rowcount > 0


async def is_linked(
    transaction: Transaction, digest: Digest, by: Sequence[RepositoryName] | None
) -> bool:
    """Return whether one of these repositories links a blob; None asks for any."""
    query = select(links.c.digest).where(links.c.digest == digest).limit(1)
    if by is not None:
        ids = select(repositories.c.id).where(repositories.c.name.in_(by))
        query = query.where(links.c.repository_id.in_(ids))
    return (await transaction.execute(query)).first() is not None


async def touch(
    transaction: Transaction, touched: Mapping[tuple[RepositoryName, Digest], float]
) -> None:
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
    await transaction.execute(
        statement,
        [
            {"name": name, "blob": digest, "at": at}
            for (name, digest), at in sorted(touched.items())
        ],
    )


async def hold_for_api(transaction: Transaction, digest: Digest) -> None:
    """Make the blob API's hold."""
    await upsert(transaction, api_holds, {"digest": digest}, replace=[])


async def release_for_api(transaction: Transaction, digest: Digest) -> bool:
    """End the blob API's hold; return whether there was one."""
    result = await transaction.execute(delete(api_holds).where(api_holds.c.digest == digest))
    return result.rowcount > 0


async def is_held(transaction: Transaction, digest: Digest) -> bool:
    """Return whether anybody holds or pins a digest."""
    for table in (links, pins, api_holds):
        query = select(table.c.digest).where(table.c.digest == digest).limit(1)
        if (await transaction.execute(query)).first() is not None:
            return True
    return False


_NAMED = exists().where(
    and_(
        manifest_references.c.repository_id == links.c.repository_id,
        manifest_references.c.digest == links.c.digest,
    )
)


async def candidates(
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
    return list((await transaction.execute(query)).scalars())


async def holders(transaction: Transaction, digest: Digest, deadlines: Deadlines) -> Holders:
    """Return who holds a digest."""
    lapsed = and_(links.c.touched_at < deadlines.unnamed_links_before, ~_NAMED)
    linked = select(func.count(), func.min(repositories.c.name)).select_from(
        links.join(repositories, repositories.c.id == links.c.repository_id)
    )
    living = (await transaction.execute(linked.where(links.c.digest == digest, ~lapsed))).one()
    ending = (await transaction.execute(linked.where(links.c.digest == digest, lapsed))).one()
    pinned = select(func.count()).select_from(pins).where(pins.c.digest == digest)
    fresh = pinned.where(pins.c.created_at >= deadlines.pins_before)
    stale = pinned.where(pins.c.created_at < deadlines.pins_before)
    held = select(api_holds.c.digest).where(api_holds.c.digest == digest)
    size = select(blobs.c.size_bytes).where(blobs.c.digest == digest)
    return Holders(
        size_bytes=(await transaction.execute(size)).scalar_one_or_none(),
        links=living[0],
        linked_by=living[1],
        lapsed_links=ending[0],
        lapsed_by=ending[1],
        pins=(await transaction.execute(fresh)).scalar_one(),
        lapsed_pins=(await transaction.execute(stale)).scalar_one(),
        api=(await transaction.execute(held)).first() is not None,
    )


async def end_lapsed(transaction: Transaction, digest: Digest, deadlines: Deadlines) -> None:
    """Remove the holds of a digest that have lapsed; its row and its links are taken already."""
    await transaction.execute(
        delete(links).where(
            links.c.digest == digest, links.c.touched_at < deadlines.unnamed_links_before, ~_NAMED
        )
    )
    await transaction.execute(
        delete(pins).where(pins.c.digest == digest, pins.c.created_at < deadlines.pins_before)
    )
