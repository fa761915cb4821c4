"""The first tables: blobs and their holds, links, manifests, tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def _by_bytes(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Make everything."""
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", _by_bytes(255), nullable=False, unique=True),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", _by_bytes(255), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("hold_ended_at", sa.Float),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "blobs_hold_ended",
        "blobs",
        ["digest"],
        sqlite_where=sa.text("hold_ended_at IS NOT NULL"),
        postgresql_where=sa.text("hold_ended_at IS NOT NULL"),
    )
    op.create_table(
        "pins",
        sa.Column("nonce", sa.String(32), primary_key=True),
        sa.Column("digest", _by_bytes(255), sa.ForeignKey("blobs.digest"), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pins_digest", "pins", ["digest"])
    op.create_table(
        "links",
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("digest", _by_bytes(255), sa.ForeignKey("blobs.digest"), nullable=False),
        sa.Column("touched_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_links_digest", "links", ["digest"])
    op.create_table(
        "api_holds",
        sa.Column("digest", _by_bytes(255), sa.ForeignKey("blobs.digest"), primary_key=True),
        sqlite_with_rowid=False,
    )
    _manifests()


def _manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("digest", _by_bytes(255), nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("subject", _by_bytes(255)),
        sa.Column("artifact_type", sa.String(255)),
        sa.Column("annotations", sa.Text),
        sa.Column("pushed_at", sa.Float, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest"),
    )
    op.create_index(
        "manifests_subject",
        "manifests",
        ["repository_id", "subject", "digest"],
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "manifest_references",
        sa.Column("repository_id", sa.Integer, nullable=False),
        sa.Column("manifest", _by_bytes(255), nullable=False),
        sa.Column("digest", _by_bytes(255), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "manifest", "digest"),
        _of_manifest("manifest"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "manifest_references_digest", "manifest_references", ["repository_id", "digest"]
    )
    op.create_table(
        "tags",
        sa.Column("repository_id", sa.Integer, nullable=False),
        sa.Column("name", _by_bytes(128), nullable=False),
        sa.Column("digest", _by_bytes(255), nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name"),
        _of_manifest("digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("tags_digest", "tags", ["repository_id", "digest"])


def _of_manifest(column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["repository_id", column],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    )
