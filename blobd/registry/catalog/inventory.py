"""What the catalog says is stored and who holds it, in the order of digests, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Tuple, and_, exists, func, literal, select, tuple_

from blobd.database.columns import DigestText
from blobd.database.statements import portions, upsert
from blobd.references import holds
from blobd.references.kinds import PINS
from blobd.references.tables import blobs
from blobd.registry.catalog.tables import links, manifest_references, manifests, repositories

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement

    from blobd.database import Transaction
    from blobd.digest import Digest
    from blobd.references.references import References
    from blobd.registry.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Stock:
    """What the catalog says of one digest."""

    digest: Digest
    size_bytes: int | None
    """None: no bytes were ever published under it."""
    is_damaged: bool
    """Whether it is quarantined."""


@dataclass(frozen=True, slots=True)
class BareLink:
    """A link to a digest of which the catalog knows no bytes."""

    repository: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class Page:
    """What the catalog says of a run of digests."""

    stock: Sequence[Stock]
    unheld: Sequence[Digest]
    """Rows that nobody holds and that garbage collection does not know of."""
    bare_links: Sequence[BareLink]


@dataclass(frozen=True, slots=True)
class Naming:
    """A manifest, and what it names that its repository does not have."""

    repository_id: int
    repository: RepositoryName
    manifest: Digest
    absent: frozenset[Digest]


def count(transaction: Transaction) -> int:
    """Return how many digests the catalog knows."""
    return transaction.execute(select(func.count()).select_from(blobs)).scalar_one()


def read_page(
    transaction: Transaction, *, references: References, after: Digest | None, limit: int
) -> Page:
    """Return what the catalog says of the digests after one; the last page has fewer rows."""
    query = select(blobs.c.digest, blobs.c.size_bytes, blobs.c.damaged_at.is_not(None))
    if after is not None:
        query = query.where(blobs.c.digest > after)
    rows = transaction.execute(query.order_by(blobs.c.digest).limit(limit))
    stock = [Stock(digest, size_bytes, bool(damaged)) for digest, size_bytes, damaged in rows]
    until = stock[-1].digest if len(stock) == limit else None
    unheld = select(blobs.c.digest).where(
        _is_unheld(references), *_within(blobs.c.digest, after, until)
    )
    return Page(
        stock,
        transaction.execute(unheld.order_by(blobs.c.digest)).scalars().all(),
        _bare_links(transaction, _within(links.c.digest, after, until)),
    )


def known(transaction: Transaction, digests: Collection[Digest]) -> set[Digest]:
    """Return which of some digests the catalog knows."""
    found: set[Digest] = set()
    for some in portions(digests):
        query = select(blobs.c.digest).where(blobs.c.digest.in_(some))
        found.update(transaction.execute(query).scalars())
    return found


def still_damaged(transaction: Transaction, digests: Collection[Digest]) -> set[Digest]:
    """Return which of some digests are quarantined."""
    found: set[Digest] = set()
    for some in portions(digests):
        query = select(blobs.c.digest).where(
            blobs.c.digest.in_(some), blobs.c.damaged_at.is_not(None)
        )
        found.update(transaction.execute(query).scalars())
    return found


def still_bare(transaction: Transaction, found: Sequence[BareLink]) -> list[BareLink]:
    """Return which of some links are still to digests without bytes."""
    digests = {link.digest for link in found}
    wanted = set(found)
    still: list[BareLink] = []
    for some in portions(digests):
        bare = _bare_links(transaction, [links.c.digest.in_(some)])
        still += [link for link in bare if link in wanted]
    return still


def hand_over(
    transaction: Transaction, digest: Digest, *, references: References, now: float
) -> bool:
    """Put a digest that nobody holds before garbage collection; return whether nobody does.

    Makes its row where there is none.
    """
    upsert(transaction, blobs, {"digest": digest}, replace=[])
    holds.lock(transaction, digest)
    if references.has_any(transaction, digest):
        return False
    holds.set_hold_ended(transaction, digest, now)
    return True


def read_absent(
    transaction: Transaction, *, after: tuple[int, Digest] | None, limit: int
) -> tuple[list[Naming], tuple[int, Digest] | None]:
    """Return manifests that name what their repository does not have, and where to go on.

    Looks at so many manifests after one, by repository and digest; None: these were the last.
    """
    place = (manifests.c.repository_id, manifests.c.digest)
    query = select(*place)
    if after is not None:
        query = query.where(tuple_(*place) > _as_tuple(after))
    looked_at = transaction.execute(query.order_by(*place).limit(limit)).all()
    if not looked_at:
        return [], None
    first, last = ((row[0], row[1]) for row in (looked_at[0], looked_at[-1]))
    named = tuple_(manifest_references.c.repository_id, manifest_references.c.manifest)
    absent = _absent(transaction, [named >= _as_tuple(first), named <= _as_tuple(last)])
    return absent, last if len(looked_at) == limit else None


def still_absent(transaction: Transaction, naming: Naming) -> Naming | None:
    """Return what a manifest still names that its repository does not have; None if nothing."""
    wanted = [
        manifest_references.c.repository_id == naming.repository_id,
        manifest_references.c.manifest == naming.manifest,
    ]
    found = _absent(transaction, wanted)
    return found[0] if found else None


def content(transaction: Transaction, naming: Naming) -> tuple[bytes, str]:
    """Return a manifest's bytes and media type; empty ones where it is gone."""
    query = select(manifests.c.content, manifests.c.media_type).where(
        manifests.c.repository_id == naming.repository_id, manifests.c.digest == naming.manifest
    )
    row = transaction.execute(query).first()
    return (b"", "") if row is None else (row[0], row[1])


def _absent(transaction: Transaction, wanted: Sequence[ColumnElement[bool]]) -> list[Naming]:
    named = manifest_references.c
    linked = exists().where(
        links.c.repository_id == named.repository_id, links.c.digest == named.digest
    )
    here = exists().where(
        manifests.c.repository_id == named.repository_id, manifests.c.digest == named.digest
    )
    query = (
        select(named.repository_id, repositories.c.name, named.manifest, named.digest)
        .join(repositories, repositories.c.id == named.repository_id)
        .where(*wanted, ~linked, ~here)
        .order_by(named.repository_id, named.manifest)
    )
    found: dict[tuple[int, RepositoryName, Digest], set[Digest]] = {}
    for repository_id, name, manifest, digest in transaction.execute(query):
        found.setdefault((repository_id, name, manifest), set()).add(digest)
    return [Naming(*place, frozenset(digests)) for place, digests in found.items()]


def _bare_links(transaction: Transaction, wanted: Sequence[ColumnElement[bool]]) -> list[BareLink]:
    query = (
        select(repositories.c.name, links.c.digest)
        .select_from(links)
        .join(repositories, repositories.c.id == links.c.repository_id)
        .outerjoin(blobs, blobs.c.digest == links.c.digest)
        .where(*wanted, blobs.c.size_bytes.is_(None))
        .order_by(links.c.digest, repositories.c.name)
    )
    return [BareLink(name, digest) for name, digest in transaction.execute(query)]


def _is_unheld(references: References) -> ColumnElement[bool]:
    return and_(
        blobs.c.hold_ended_at.is_(None),
        *(~exists().where(kind.digest == blobs.c.digest) for kind in (*references.kinds, PINS)),
    )


def _as_tuple(place: tuple[int, Digest]) -> Tuple:
    return tuple_(literal(place[0]), literal(place[1], DigestText))


def _within(
    column: ColumnElement[Digest], after: Digest | None, until: Digest | None
) -> list[ColumnElement[bool]]:
    bounds = []
    if after is not None:
        bounds.append(column > after)
    if until is not None:
        bounds.append(column <= until)
    return bounds
