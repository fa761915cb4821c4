"""Packages: repositories as people see them.

packages       one row per repository `NAMESPACE/IMAGE`; a deleted one's repository is renamed to
               what no request can name, and back when it is restored.
package_roles  what people and teams may do with a package.
package_grants what workflows of a source repository may do, by kind of workflow.
versions       one row per manifest that was ever pushed; a deleted one's manifest lies in a
               repository that no request can name.
trashed_tags   the tags that a deleted version had.
index_pulls    who fetched which index a moment ago: what it lists is no download of its own.
audit          what was done, by whom.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from blobd.database.columns import DigestText, by_bytes, metadata

packages = Table(
    "packages",
    metadata,
    Column("repository_id", Integer, ForeignKey("repositories.id"), primary_key=True),
    Column("owner_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("name", by_bytes(255), nullable=False),
    Column("visibility", String(8), nullable=False),
    Column("source_id", Integer, ForeignKey("sources.id", ondelete="SET NULL"), index=True),
    Column("inherits", Boolean, nullable=False),
    Column("immutable_tags", Boolean, nullable=False),
    Column("sparse_indexes", Boolean, nullable=False, server_default=false()),
    Column("description", Text),
    Column("licences", Text),
    Column("source_url", Text),
    Column("created_by", Integer, ForeignKey("accounts.id")),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("downloads", BigInteger, nullable=False),
    Column("deleted_at", Float),
    Column("published_at", Float),
    Column("label_findings", Text),
)
Index("packages_owner_name", packages.c.owner_id, packages.c.name)

package_roles = Table(
    "package_roles",
    metadata,
    Column("repository_id", Integer, ForeignKey("packages.repository_id"), nullable=False),
    Column("grantee_kind", String(4), nullable=False),
    Column("grantee_id", Integer, nullable=False),
    Column("role", String(5), nullable=False),
    PrimaryKeyConstraint("repository_id", "grantee_kind", "grantee_id"),
)
Index("package_roles_grantee", package_roles.c.grantee_kind, package_roles.c.grantee_id)

package_grants = Table(
    "package_grants",
    metadata,
    Column("repository_id", Integer, ForeignKey("packages.repository_id"), nullable=False),
    Column("source_id", Integer, ForeignKey("sources.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(12), nullable=False),
    Column("role", String(5), nullable=False),
    Column("may_publish", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("repository_id", "source_id", "kind"),
)

versions = Table(
    "versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository_id", Integer, ForeignKey("packages.repository_id"), nullable=False),
    Column("digest", DigestText, nullable=False),
    Column("artifact_type", String(255)),
    Column("platforms", Text, nullable=False),
    Column("description", Text),
    Column("licences", Text),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("downloads", BigInteger, nullable=False),
    Column("last_pulled_at", Float),
    Column("deleted_at", Float),
    Column("warnings", Text),
    UniqueConstraint("repository_id", "digest"),
)
Index(
    "versions_by_state",
    versions.c.repository_id,
    versions.c.deleted_at,
    versions.c.created_at,
    versions.c.id,
)
Index(
    "versions_warned",
    versions.c.repository_id,
    versions.c.created_at,
    sqlite_where=versions.c.warnings.is_not(None),
    postgresql_where=versions.c.warnings.is_not(None),
)
Index(
    "versions_deleted",
    versions.c.deleted_at,
    sqlite_where=versions.c.deleted_at.is_not(None),
    postgresql_where=versions.c.deleted_at.is_not(None),
)

trashed_tags = Table(
    "trashed_tags",
    metadata,
    Column("repository_id", Integer, ForeignKey("packages.repository_id"), nullable=False),
    Column("digest", DigestText, nullable=False),
    Column("name", by_bytes(128), nullable=False),
    PrimaryKeyConstraint("repository_id", "digest", "name"),
)

index_pulls = Table(
    "index_pulls",
    metadata,
    Column("repository_id", Integer, nullable=False),
    Column("caller", String(80), nullable=False),
    Column("digest", DigestText, nullable=False),
    Column("pulled_at", Float, nullable=False, index=True),
    PrimaryKeyConstraint("repository_id", "caller", "digest"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("actor", String(255), nullable=False),
    Column("action", String(40), nullable=False),
    Column("package", by_bytes(255)),
    Column("digest", DigestText),
    Column("detail", Text),
    Column("token_id", String(16)),
    Column("address", String(64)),
)
Index("audit_package", audit.c.package, audit.c.id)
