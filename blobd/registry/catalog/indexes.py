"""Which indexes of a repository list which of its manifests, in SQL."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from blobd.database.statements import portions
from blobd.registry.catalog.tables import manifest_references, manifests, tags
from blobd.registry.media_types import INDEXES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import ColumnElement

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest

_PARENTS_MAX = 20
_CHILDREN_MAX = 100


@dataclass(frozen=True, slots=True)
class Parent:
    """An index that lists a manifest."""

    digest: Digest
    tags: tuple[str, ...]

    def __str__(self) -> str:
        named = f" (tagged {', '.join(self.tags[:5])})" if self.tags else ""
        return f"{self.digest}{named}"


_index = manifests.alias("listing")
_child = manifests.alias("listed")
_of = manifest_references


def parents_of(
    transaction: Transaction, repository_id: int, digests: Collection[Digest]
) -> dict[Digest, tuple[Parent, ...]]:
    """Return the last 20 indexes, the newest first, that list each digest, present or not."""
    pairs = list(_pairs(transaction, repository_id, digests, by=_of.c.digest, most=_PARENTS_MAX))
    named: dict[Digest, list[str]] = defaultdict(list)
    for some in portions({parent for _, parent in pairs}):
        query = select(tags.c.digest, tags.c.name).where(
            tags.c.repository_id == repository_id, tags.c.digest.in_(some)
        )
        for digest, name in transaction.execute(query.order_by(tags.c.name)):
            named[digest].append(name)
    found: dict[Digest, tuple[Parent, ...]] = {}
    for child, parent in pairs:
        found[child] = (*found.get(child, ()), Parent(parent, tuple(named[parent])))
    return found


def children_of(
    transaction: Transaction, repository_id: int, digests: Collection[Digest]
) -> dict[Digest, tuple[Digest, ...]]:
    """Return the first 100 manifests, of those that are there, that each index lists."""
    found: dict[Digest, tuple[Digest, ...]] = {}
    pairs = _pairs(transaction, repository_id, digests, by=_of.c.manifest, most=_CHILDREN_MAX)
    for child, parent in pairs:
        found[parent] = (*found.get(parent, ()), child)
    return found


def _pairs(
    transaction: Transaction,
    repository_id: int,
    digests: Collection[Digest],
    *,
    by: ColumnElement[Digest],
    most: int,
) -> Iterator[tuple[Digest, Digest]]:
    """Yield manifests and indexes that list them, at most so many for each value of a column."""
    newest = (_index.c.pushed_at.desc(), _of.c.manifest, _of.c.digest)
    for some in portions(digests):
        ranked = (
            select(
                _of.c.digest,
                _of.c.manifest,
                func.row_number().over(partition_by=by, order_by=newest).label("place"),
            )
            .join(
                _index,
                (_index.c.repository_id == _of.c.repository_id)
                & (_index.c.digest == _of.c.manifest)
                & _index.c.media_type.in_(INDEXES),
            )
            .where(_of.c.repository_id == repository_id, by.in_(some))
        )
        if by is _of.c.manifest:
            ranked = ranked.join(
                _child,
                (_child.c.repository_id == _of.c.repository_id) & (_child.c.digest == _of.c.digest),
            )
        found = ranked.subquery()
        query = select(found.c.digest, found.c.manifest).where(found.c.place <= most)
        rows = transaction.execute(query.order_by(found.c.place))
        yield from ((child, parent) for child, parent in rows)
