"""Accounts say whether new packages of theirs inherit access from their source repository."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Let all go on as before: they do."""
    op.add_column(
        "accounts",
        sa.Column("packages_inherit", sa.Boolean, nullable=False, server_default=sa.true()),
    )
