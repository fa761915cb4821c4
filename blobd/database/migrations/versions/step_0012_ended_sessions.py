"""Sessions on pages that were signed out of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the table; nobody has signed out."""
    op.create_table(
        "ended_sessions",
        sa.Column("serial", sa.String(32), primary_key=True),
        sa.Column("expires_at", sa.Float, nullable=False, index=True),
    )
