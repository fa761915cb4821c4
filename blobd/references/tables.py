"""The tables of references.

store       one row: the id of the store that has the bytes; see `store_marker.py`.
blobs       one row per digest that anything refers to, or did until lately. Making or ending a
            reference writes this row first, and so waits for garbage collection, which locks it.
            `condemned_at`: since when its bytes are being deleted; see `roots.py`.
            `verified_at`: when its bytes were last found to hash to the digest; 0: not known.
            `damaged_at`: since when its bytes are quarantined; see `quarantine.py`.
pins        digests that are being published at this moment; see `pins.py`.
leases      which process does what only one may do at a time, and until when.
daemons     one row per living daemon: a lease, renewed every few seconds by `neighbours.py`, with
            the settings that must agree, as JSON. Nobody is bound by a row that has lapsed.

The references themselves are in the fronts' tables, each with a foreign key to `blobs`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from blobd.database.columns import DigestText, metadata

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("store_id", String(32), nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", DigestText, primary_key=True),
    Column("size_bytes", BigInteger),
    Column("hold_ended_at", Float),
    Column("condemned_at", Float),
    Column("verified_at", Float, nullable=False, server_default=text("0")),
    Column("damaged_at", Float),
    sqlite_with_rowid=False,
)
Index(
    "blobs_hold_ended",
    blobs.c.digest,
    sqlite_where=text("hold_ended_at IS NOT NULL"),
    postgresql_where=text("hold_ended_at IS NOT NULL"),
)
Index("blobs_verified", blobs.c.verified_at)
Index(
    "blobs_damaged",
    blobs.c.digest,
    sqlite_where=text("damaged_at IS NOT NULL"),
    postgresql_where=text("damaged_at IS NOT NULL"),
)

pins = Table(
    "pins",
    metadata,
    Column("nonce", String(32), primary_key=True),
    Column("digest", DigestText, ForeignKey("blobs.digest"), nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("expires_at", Float, nullable=False),
)

daemons = Table(
    "daemons",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("boot", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("settings", Text, nullable=False),
)
