"""Which packages take indexes whose children are not there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the setting; it is off."""
    op.add_column(
        "packages",
        sa.Column("sparse_indexes", sa.Boolean, nullable=False, server_default=sa.false()),
    )
