"""Versions in an index that counts and pages them without reading their rows."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Put what is deleted apart from what is not."""
    op.drop_index("versions_by_age", "versions")
    op.create_index(
        "versions_by_state", "versions", ["repository_id", "deleted_at", "created_at", "id"]
    )
