"""The registry's tables. `migrations/` makes them; a test holds the two together."""

from __future__ import annotations

from blobd.database.columns import metadata
from blobd.registry.catalog.tables.accounts import (
    accounts,
    ended_sessions,
    memberships,
    signing_keys,
    source_roles,
    sources,
    team_members,
    teams,
    tokens,
)
from blobd.registry.catalog.tables.contents import (
    links,
    manifest_references,
    manifests,
    repositories,
    tags,
)
from blobd.registry.catalog.tables.packages import (
    audit,
    index_pulls,
    package_grants,
    package_roles,
    packages,
    trashed_tags,
    versions,
)

__all__ = [
    "accounts",
    "audit",
    "ended_sessions",
    "index_pulls",
    "links",
    "manifest_references",
    "manifests",
    "memberships",
    "metadata",
    "package_grants",
    "package_roles",
    "packages",
    "repositories",
    "signing_keys",
    "source_roles",
    "sources",
    "tags",
    "team_members",
    "teams",
    "tokens",
    "trashed_tags",
    "versions",
]
