"""Accounts, packages and their versions; what was pushed before belongs to organisations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_ACCOUNT_MAX_CHARACTERS = 100
_CONFIG_TYPES = {
    "oci": "application/vnd.oci.image.config.v1+json",
    "docker": "application/vnd.docker.container.image.v1+json",
}
"""What images have for an artifact type, of which nothing is to be shown."""


def _by_bytes(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, and a package of each repository that is in a namespace."""
    _accounts()
    _packages()
    _adopt()


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", _by_bytes(100), nullable=False, unique=True),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("is_administrator", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("disabled_at", sa.Float),
    )
    op.create_table(
        "memberships",
        sa.Column("organisation_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("role", sa.String(6), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "account_id"),
    )
    op.create_index("ix_memberships_account_id", "memberships", ["account_id"])
    op.create_table(
        "teams",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("organisation_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", _by_bytes(100), nullable=False),
        sa.UniqueConstraint("organisation_id", "name"),
    )
    op.create_table(
        "team_members",
        sa.Column(
            "team_id", sa.Integer, sa.ForeignKey("teams.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "account_id"),
    )
    op.create_index("ix_team_members_account_id", "team_members", ["account_id"])
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", _by_bytes(100), nullable=False),
        sa.Column("visibility", sa.String(8), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("owner_id", "name"),
    )
    op.create_table(
        "source_roles",
        sa.Column(
            "source_id", sa.Integer, sa.ForeignKey("sources.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("grantee_kind", sa.String(4), nullable=False),
        sa.Column("grantee_id", sa.Integer, nullable=False),
        sa.Column("role", sa.String(5), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "grantee_kind", "grantee_id"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("account_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id", ondelete="CASCADE")),
        sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hint", sa.String(32), nullable=False),
        sa.Column("note", sa.String(255), nullable=False),
        sa.Column("scopes", sa.String(100), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.Column("last_used_at", sa.Float),
    )
    op.create_index("ix_tokens_account_id", "tokens", ["account_id"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(32), primary_key=True),
        sa.Column("private", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )


def _packages() -> None:
    op.create_table(
        "packages",
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("owner_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", _by_bytes(255), nullable=False),
        sa.Column("visibility", sa.String(8), nullable=False),
        sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id", ondelete="SET NULL")),
        sa.Column("inherits", sa.Boolean, nullable=False),
        sa.Column("immutable_tags", sa.Boolean, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("licences", sa.Text),
        sa.Column("source_url", sa.Text),
        sa.Column("created_by", sa.Integer, sa.ForeignKey("accounts.id")),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("downloads", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.Float),
    )
    op.create_index("ix_packages_source_id", "packages", ["source_id"])
    op.create_index("packages_owner_name", "packages", ["owner_id", "name"])
    op.create_table(
        "package_roles",
        sa.Column(
            "repository_id", sa.Integer, sa.ForeignKey("packages.repository_id"), nullable=False
        ),
        sa.Column("grantee_kind", sa.String(4), nullable=False),
        sa.Column("grantee_id", sa.Integer, nullable=False),
        sa.Column("role", sa.String(5), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "grantee_kind", "grantee_id"),
    )
    op.create_index("package_roles_grantee", "package_roles", ["grantee_kind", "grantee_id"])
    op.create_table(
        "package_grants",
        sa.Column(
            "repository_id", sa.Integer, sa.ForeignKey("packages.repository_id"), nullable=False
        ),
        sa.Column(
            "source_id", sa.Integer, sa.ForeignKey("sources.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("role", sa.String(5), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "source_id", "kind"),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "repository_id", sa.Integer, sa.ForeignKey("packages.repository_id"), nullable=False
        ),
        sa.Column("digest", _by_bytes(255), nullable=False),
        sa.Column("artifact_type", sa.String(255)),
        sa.Column("platforms", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("licences", sa.Text),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("downloads", sa.BigInteger, nullable=False),
        sa.Column("last_pulled_at", sa.Float),
        sa.Column("deleted_at", sa.Float),
        sa.UniqueConstraint("repository_id", "digest"),
    )
    op.create_index("versions_by_age", "versions", ["repository_id", "created_at", "id"])
    op.create_index(
        "versions_deleted",
        "versions",
        ["deleted_at"],
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_table(
        "trashed_tags",
        sa.Column(
            "repository_id", sa.Integer, sa.ForeignKey("packages.repository_id"), nullable=False
        ),
        sa.Column("digest", _by_bytes(255), nullable=False),
        sa.Column("name", _by_bytes(128), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest", "name"),
    )
    op.create_table(
        "index_pulls",
        sa.Column("repository_id", sa.Integer, nullable=False),
        sa.Column("caller", sa.String(80), nullable=False),
        sa.Column("digest", _by_bytes(255), nullable=False),
        sa.Column("pulled_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "caller", "digest"),
    )
    op.create_index("ix_index_pulls_pulled_at", "index_pulls", ["pulled_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("package", _by_bytes(255)),
        sa.Column("digest", _by_bytes(255)),
        sa.Column("detail", sa.Text),
        sa.Column("token_id", sa.String(16)),
        sa.Column("address", sa.String(64)),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("audit_package", "audit", ["package", "id"])


def _adopt() -> None:
    """Let what there is belong to an organisation of its namespace, which nobody owns yet."""
    connection = op.get_bind()
    named = connection.execute(sa.text("SELECT id, name, created_at FROM repositories")).all()
    owned = [row for row in named if 0 < row.name.find("/") <= _ACCOUNT_MAX_CHARACTERS]
    make_account = sa.text(
        "INSERT INTO accounts (name, kind, is_administrator, created_at)"
        " VALUES (:name, 'organisation', :no, :at)"
    )
    make_package = sa.text(
        "INSERT INTO packages (repository_id, owner_id, name, visibility, inherits,"
        " immutable_tags, created_at, updated_at, downloads)"
        " SELECT :id, accounts.id, :name, 'private', :no, :no, :at, :at, 0"
        " FROM accounts WHERE accounts.name = :owner"
    )
    for namespace in sorted({row.name.partition("/")[0] for row in owned}):
        first = min(row.created_at for row in owned if row.name.startswith(f"{namespace}/"))
        connection.execute(make_account, {"name": namespace, "no": False, "at": first})
    for row in owned:
        owner, _, name = row.name.partition("/")
        values = {"id": row.id, "owner": owner, "name": name, "at": row.created_at, "no": False}
        connection.execute(make_package, values)
    connection.execute(
        sa.text(
            "INSERT INTO versions (repository_id, digest, artifact_type, platforms, size_bytes,"
            " created_at, updated_at, downloads)"
            " SELECT manifests.repository_id, digest,"
            " CASE WHEN artifact_type NOT IN (:oci, :docker) THEN artifact_type END,"
            " '', size_bytes, pushed_at, pushed_at, 0"
            " FROM manifests JOIN packages ON packages.repository_id = manifests.repository_id"
            " ORDER BY pushed_at, digest"
        ),
        _CONFIG_TYPES,
    )
