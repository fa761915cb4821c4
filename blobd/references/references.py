"""All kinds of reference of a daemon, asked at once.

The statements are composed when the daemon starts, of the kinds that its fronts register, and stay
the same from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import (
    String,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    union,
)

from blobd.database.columns import DigestText
from blobd.references.kinds import PINS, unknown_kinds
from blobd.references.tables import blobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Executable, Select

    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.graces import Graces
    from blobd.references.kinds import Kind, Lapse

    Deadlines = Mapping[str, float]
    """By the parameter of a kind: what was made or renewed before has lapsed. Since the epoch."""

_BLOB = bindparam("blob", type_=DigestText)
_AFTER = bindparam("after", type_=String)
_SIZE = select(blobs.c.size_bytes).where(blobs.c.digest == _BLOB)
_ENDED = select(blobs.c.digest).where(blobs.c.hold_ended_at.is_not(None), blobs.c.digest > _AFTER)


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason for a blob to live, in words. `lapsed`: it no longer counts."""

    reason: str
    lapsed: bool


@dataclass(frozen=True, slots=True)
class HoldStatus:
    """What holds one digest."""

    size_bytes: int | None
    holds: tuple[Hold, ...]
    """Those that count, and then the lapsed ones."""

    @property
    def held(self) -> bool:
        """Whether any hold still counts."""
        return any(not hold.lapsed for hold in self.holds)


class References:
    """All kinds of reference. Its methods are called inside a transaction."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        """`kinds` are the fronts'; pins are one more. `open_references` adds unknown ones."""
        self.kinds = tuple(kinds)
        every = (*self.kinds, PINS)
        self._lapsing = tuple((kind, kind.lapse) for kind in every if kind.lapse is not None)
        self._any: Executable = select(literal_column("1")).where(
            or_(*(exists().where(kind.digest == _BLOB) for kind in every))
        )
        self._candidates = union(
            _ENDED,
            *(
                select(kind.digest).where(kind.digest > _AFTER, _has_lapsed(kind, lapse))
                for kind, lapse in self._lapsing
            ),
        ).order_by("digest")
        self._locks = [
            select(kind.digest).where(kind.digest == _BLOB, _is_old(kind, lapse)).with_for_update()
            for kind, lapse in self._lapsing
            if lapse.renewed_alone
        ]
        self._counts = [
            (kind.reason, False, _count(kind).where(_counts_still(kind))) for kind in every
        ] + [
            (lapse.reason, True, _count(kind).where(_has_lapsed(kind, lapse)))
            for kind, lapse in self._lapsing
        ]
        self._ends = [
            delete(kind.table).where(kind.digest == _BLOB, _has_lapsed(kind, lapse))
            for kind, lapse in self._lapsing
        ]

    def deadlines(self, graces: Graces, *, now: float) -> dict[str, float]:
        """Return before when each kind has lapsed, at a moment."""
        return {_deadline(kind): now - lapse.lifetime_s(graces) for kind, lapse in self._lapsing}

    def has_any(self, transaction: Transaction, digest: Digest) -> bool:
        """Return whether anything refers to a digest, lapsed or not."""
        return bool(transaction.fetch(self._any, {"blob": digest}))

    def candidates(
        self, transaction: Transaction, deadlines: Deadlines, *, after: Digest | None, limit: int
    ) -> list[Digest]:
        """Return digests of which a hold has ended or lapsed, in order."""
        values = {**deadlines, "after": "" if after is None else str(after)}
        return list(transaction.execute(self._candidates.limit(limit), values).scalars())

    def lock(self, transaction: Transaction, digest: Digest, deadlines: Deadlines) -> None:
        """Take the references that may have lapsed: nobody renews them until the transaction ends.

        The digest's row is taken already.
        """
        for statement in self._locks:
            transaction.execute(statement, {**deadlines, "blob": digest})

    def status(self, transaction: Transaction, digest: Digest, deadlines: Deadlines) -> HoldStatus:
        """Return what holds a digest."""
        values = {**deadlines, "blob": digest}
        size_bytes = transaction.execute(_SIZE, values).scalar_one_or_none()
        return HoldStatus(size_bytes, tuple(self._holds(transaction, values)))

    def _holds(self, transaction: Transaction, values: Mapping[str, object]) -> Iterator[Hold]:
        for reason, lapsed, statement in self._counts:
            count, holder = transaction.execute(statement, values).one()
            if count:
                others = f" and {count - 1} more" if count > 1 else ""
                yield Hold(reason.format(holder=f"{holder}{others}"), lapsed)

    def end_lapsed(self, transaction: Transaction, digest: Digest, deadlines: Deadlines) -> None:
        """Remove the references to a digest that have lapsed; they are locked already."""
        for statement in self._ends:
            transaction.execute(statement, {**deadlines, "blob": digest})


async def open_references(catalog: Catalog, kinds: Sequence[Kind]) -> References:
    """Return the references of some fronts, and of any others that the catalog has tables of."""
    return References([*kinds, *await catalog.read(partial(unknown_kinds, known=(*kinds, PINS)))])


def _deadline(kind: Kind) -> str:
    return f"{kind.table.name}_before"


def _is_old(kind: Kind, lapse: Lapse) -> ColumnElement[bool]:
    return lapse.since < bindparam(_deadline(kind))


def _has_lapsed(kind: Kind, lapse: Lapse) -> ColumnElement[bool]:
    if lapse.unless is None:
        return _is_old(kind, lapse)
    return and_(_is_old(kind, lapse), not_(lapse.unless))


def _counts_still(kind: Kind) -> ColumnElement[bool]:
    return literal_column("1 = 1") if kind.lapse is None else not_(_has_lapsed(kind, kind.lapse))


def _count(kind: Kind) -> Select[int, str | None]:
    """Return how many there are of a digest, and the name of one's holder."""
    holder = null() if kind.holder is None else func.min(kind.holder)
    return select(func.count(), holder).where(kind.digest == _BLOB)
