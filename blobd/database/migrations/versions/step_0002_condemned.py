"""When a collector began to remove a blob's bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; nothing is being removed yet."""
    op.add_column("blobs", sa.Column("condemned_at", sa.Float))
