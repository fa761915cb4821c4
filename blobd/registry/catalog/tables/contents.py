"""Repositories and what they hold.

store       one row: the id of the store that has the bytes; see `registry/store_marker.py`.
blobs       one row per digest that anybody holds, or held until lately. Whoever makes or ends a
            hold writes this row first, and so waits for garbage collection, which locks it.
            `condemned_at`: since when its bytes are being removed; see `roots.py`.
            `verified_at`: when its bytes were last found to hash to the digest; 0: not known.
            `damaged_at`: since when its bytes are quarantined; see `quarantine.py`.
pins        digests that are being published at this moment; see `pins.py`.
links       a repository's right to see a blob, and the registry's hold on it.
api_holds   the blob API's holds.
manifests   kept byte for byte, in every repository, under every digest they were pushed with.
manifest_references   what a manifest names; a link that none names is not kept for long.
tags        names of manifests.
leases      which process does what only one may do at a time, and until when.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from blobd.database.columns import DigestText, by_bytes, metadata

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("store_id", String(32), nullable=False),
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", by_bytes(255), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
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

links = Table(
    "links",
    metadata,
    Column("repository_id", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("digest", DigestText, ForeignKey("blobs.digest"), nullable=False, index=True),
    Column("touched_at", Float, nullable=False),
    PrimaryKeyConstraint("repository_id", "digest"),
    sqlite_with_rowid=False,
)

api_holds = Table(
    "api_holds",
    metadata,
    Column("digest", DigestText, ForeignKey("blobs.digest"), primary_key=True),
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    metadata,
    Column("repository_id", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("digest", DigestText, nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("subject", DigestText),
    Column("artifact_type", String(255)),
    Column("annotations", Text),
    Column("pushed_at", Float, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("repository_id", "digest"),
)
Index(
    "manifests_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    sqlite_where=text("subject IS NOT NULL"),
    postgresql_where=text("subject IS NOT NULL"),
)

manifest_references = Table(
    "manifest_references",
    metadata,
    Column("repository_id", Integer, nullable=False),
    Column("manifest", DigestText, nullable=False),
    Column("digest", DigestText, nullable=False),
    PrimaryKeyConstraint("repository_id", "manifest", "digest"),
    ForeignKeyConstraint(
        ["repository_id", "manifest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    sqlite_with_rowid=False,
)
Index(
    "manifest_references_digest",
    manifest_references.c.repository_id,
    manifest_references.c.digest,
)

tags = Table(
    "tags",
    metadata,
    Column("repository_id", Integer, nullable=False),
    Column("name", by_bytes(128), nullable=False),
    Column("digest", DigestText, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("repository_id", "name"),
    ForeignKeyConstraint(
        ["repository_id", "digest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    sqlite_with_rowid=False,
)
Index("tags_digest", tags.c.repository_id, tags.c.digest)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("expires_at", Float, nullable=False),
)
