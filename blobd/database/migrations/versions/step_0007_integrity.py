"""When the bytes of blobs were last verified, and since when they are quarantined."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns; nothing is known yet of the bytes that are there."""
    op.add_column(
        "blobs", sa.Column("verified_at", sa.Float, nullable=False, server_default=sa.text("0"))
    )
    op.add_column("blobs", sa.Column("damaged_at", sa.Float))
    op.create_index("blobs_verified", "blobs", ["verified_at"])
    op.create_index(
        "blobs_damaged",
        "blobs",
        ["digest"],
        sqlite_where=sa.text("damaged_at IS NOT NULL"),
        postgresql_where=sa.text("damaged_at IS NOT NULL"),
    )
