"""Accounts, and their credentials.

accounts     users and organisations; each is a namespace.
memberships  users in organisations, as `owner` or `member`.
teams        groups of an organisation's members.
sources      source repositories: named records that packages are linked to, with roles.
source_roles what people and teams may do there.
tokens       personal access tokens and workflow tokens: hashes, never secrets.
signing_keys the Ed25519 keys that bearer tokens are signed with; `private` is 32 bytes, or 61
    where it is sealed (`registry/auth/sealing.py`).
ended_sessions sessions on pages that were signed out of, until they would have ended by
    themselves.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    false,
    true,
)

from blobd.database.columns import by_bytes, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", by_bytes(100), nullable=False, unique=True),
    Column("kind", String(12), nullable=False),
    Column("is_administrator", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),
    Column("packages_inherit", Boolean, nullable=False, server_default=true()),
)

memberships = Table(
    "memberships",
    metadata,
    Column("organisation_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("role", String(6), nullable=False),
    PrimaryKeyConstraint("organisation_id", "account_id"),
)

teams = Table(
    "teams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("organisation_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("name", by_bytes(100), nullable=False),
    UniqueConstraint("organisation_id", "name"),
)

team_members = Table(
    "team_members",
    metadata,
    Column("team_id", Integer, ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    PrimaryKeyConstraint("team_id", "account_id"),
)

sources = Table(
    "sources",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("name", by_bytes(100), nullable=False),
    Column("visibility", String(8), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("host", String(260), nullable=False, server_default=""),
    Column("writers_link", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("owner_id", "name"),
)

source_roles = Table(
    "source_roles",
    metadata,
    Column("source_id", Integer, ForeignKey("sources.id", ondelete="CASCADE"), nullable=False),
    Column("grantee_kind", String(4), nullable=False),
    Column("grantee_id", Integer, nullable=False),
    Column("role", String(5), nullable=False),
    PrimaryKeyConstraint("source_id", "grantee_kind", "grantee_id"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("kind", String(12), nullable=False),
    Column("source_id", Integer, ForeignKey("sources.id", ondelete="CASCADE")),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("hint", String(32), nullable=False),
    Column("note", String(255), nullable=False),
    Column("scopes", String(100), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("last_used_at", Float),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(32), primary_key=True),
    Column("private", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("serial", String(32), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)
