"""Kinds of reference: what a front counts as a reason for a blob to live.

A kind is a table with a row for each reference, one of whose columns has a foreign key to `blobs`.
The front describes it here: when a row lapses, and what people read of it. A table that refers to
blobs and belongs to no front of this daemon is a kind too (`unknown_kinds`): what is in it holds,
and never lapses. So a daemon without the registry keeps what the registry's repositories link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import column, table

from blobd.references.tables import pins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, TableClause

    from blobd.database import Transaction
    from blobd.digest import Digest
    from blobd.graces import Graces

_PIN_GRACE_S = 3600
_REFERRING = {
    "sqlite": """
        SELECT referring.name, foreign_key."from"
        FROM sqlite_master AS referring, pragma_foreign_key_list(referring.name) AS foreign_key
        WHERE referring.type = 'table' AND foreign_key."table" = 'blobs'
        ORDER BY referring.name
    """,
    "postgresql": """
        SELECT referring.relname, attribute.attname
        FROM pg_constraint AS foreign_key
        JOIN pg_class AS referring ON referring.oid = foreign_key.conrelid
        JOIN pg_attribute AS attribute ON attribute.attrelid = foreign_key.conrelid
            AND attribute.attnum = foreign_key.conkey[1]
        WHERE foreign_key.contype = 'f' AND foreign_key.confrelid = to_regclass('blobs')
        ORDER BY referring.relname
    """,
}
"""Finds the columns that have a foreign key to `blobs`, on either database."""


@dataclass(frozen=True, slots=True, eq=False)
class Lapse:
    """When references of a kind run out by themselves."""

    lifetime_s: Callable[[Graces], float]
    """How long one lasts after it was made or renewed."""
    since: ColumnElement[float]
    """When that was, in seconds since the epoch."""
    reason: str
    """Why one has lapsed, written as `Kind.reason` is."""
    unless: ColumnElement[bool] | None = None
    """What keeps an old one from lapsing."""
    renewed_alone: bool = False
    """Whether it is renewed without the digest's row: collection locks old ones before it asks."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of reference."""

    table: TableClause
    digest: ColumnElement[Digest]
    """Its column with the foreign key."""
    reason: str
    """Why the blob lives, in words; `{holder}` becomes one of the holders, and how many more."""
    holder: ColumnElement[str] | None = None
    """The name of a row's holder."""
    lapse: Lapse | None = None
    """None: it lasts until it is ended."""


PINS = Kind(
    pins,
    pins.c.digest,
    "being pushed right now",
    lapse=Lapse(
        lambda graces: (graces.upload_timeout_s or graces.upload_idle_expiry_s) + _PIN_GRACE_S,
        since=pins.c.created_at,
        reason="its push was broken off",
    ),
)


def unknown_kinds(transaction: Transaction, known: Sequence[Kind]) -> list[Kind]:
    """Return a kind for each table that refers to blobs and is none of the `known`."""
    names = {kind.table.name for kind in known}
    found = transaction.rows(_REFERRING[transaction.dialect])
    return [_unknown(name, key) for name, key in found if name not in names]


def _unknown(name: str, key: str) -> Kind:
    referring = table(name, column(key))
    return Kind(referring, referring.c[key], f"named in the table {name} of another front")
