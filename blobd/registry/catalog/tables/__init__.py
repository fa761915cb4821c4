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
    api_holds,
    blobs,
    leases,
    links,
    manifest_references,
    manifests,
    pins,
    repositories,
    store,
    tags,
)
from blobd.registry.catalog.tables.daemons import daemons
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
    "api_holds",
    "audit",
    "blobs",
    "daemons",
    "ended_sessions",
    "index_pulls",
    "leases",
    "links",
    "manifest_references",
    "manifests",
    "memberships",
    "metadata",
    "package_grants",
    "package_roles",
    "packages",
    "pins",
    "repositories",
    "signing_keys",
    "source_roles",
    "sources",
    "store",
    "tags",
    "team_members",
    "teams",
    "tokens",
    "trashed_tags",
    "versions",
]
