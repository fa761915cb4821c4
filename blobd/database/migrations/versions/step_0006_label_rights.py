"""Visibility is a package's own, and what workflows may do is granted, never implied by a link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Write down what links implied, so that nobody's rights change; mark it to be looked at."""
    op.add_column("packages", sa.Column("published_at", sa.Float))
    op.add_column("packages", sa.Column("label_findings", sa.Text))
    op.add_column(
        "package_grants",
        sa.Column("may_publish", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "sources", sa.Column("host", sa.String(260), nullable=False, server_default=sa.text("''"))
    )
    op.add_column(
        "sources",
        sa.Column("writers_link", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    _write_visibilities()
    for kind, role in (("automation", "write"), ("environment", "read")):
        _write_grants(kind, role)


def _write_visibilities() -> None:
    op.execute("UPDATE packages SET label_findings = '?' WHERE source_id IS NOT NULL OR inherits")
    op.execute(
        "UPDATE packages SET visibility = COALESCE((SELECT sources.visibility FROM sources"
        " WHERE sources.id = packages.source_id), 'private') WHERE inherits"
    )


def _write_grants(kind: str, role: str) -> None:
    """Give the workflows of linked source repositories what they had by the link alone."""
    connection = op.get_bind()
    values = {"kind": kind, "role": role, "no": False}
    connection.execute(
        sa.text(
            "UPDATE package_grants SET role = :role WHERE kind = :kind AND role = 'read'"
            " AND EXISTS (SELECT 1 FROM packages"
            " WHERE packages.repository_id = package_grants.repository_id"
            " AND packages.source_id = package_grants.source_id)"
        ),
        {"kind": kind, "role": role},
    )
    connection.execute(
        sa.text(
            "INSERT INTO package_grants (repository_id, source_id, kind, role, may_publish)"
            " SELECT repository_id, source_id, CAST(:kind AS VARCHAR(12)),"
            " CAST(:role AS VARCHAR(5)), :no FROM packages"
            " WHERE source_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM package_grants AS given"
            " WHERE given.repository_id = packages.repository_id"
            " AND given.source_id = packages.source_id AND given.kind = :kind)"
        ),
        values,
    )
