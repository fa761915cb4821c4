"""Repositories and what they hold.

links       a repository's right to see a blob, and the registry's hold on it.
manifests   kept byte for byte, in every repository, under every digest they were pushed with.
manifest_references   what a manifest names; a link that none names is not kept for long.
tags        names of manifests.
"""

from __future__ import annotations

from sqlalchemy import (
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
from blobd.references.tables import blobs

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", by_bytes(255), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
)

links = Table(
    "links",
    metadata,
    Column("repository_id", Integer, ForeignKey("repositories.id"), nullable=False),
    Column("digest", DigestText, ForeignKey(blobs.c.digest), nullable=False, index=True),
    Column("touched_at", Float, nullable=False),
    PrimaryKeyConstraint("repository_id", "digest"),
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
