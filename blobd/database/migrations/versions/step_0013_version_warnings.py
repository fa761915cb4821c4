"""What of a version's own words was cut or not taken over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the column; of versions that are there nobody knows."""
    op.add_column("versions", sa.Column("warnings", sa.Text))
    warned = sa.text("warnings IS NOT NULL")
    op.create_index(
        "versions_warned",
        "versions",
        ["repository_id", "created_at"],
        sqlite_where=warned,
        postgresql_where=warned,
    )
