"""What packages got by labels before labels gave no rights, in SQL.

`packages.label_findings` is `?` for what the migration found linked and has not been reviewed; then
the id of the source repository and words for what came from it, as `7 link roles visibility`; null
where there is nothing, or nothing left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, select, update

from blobd.registry.catalog.tables import (
    accounts,
    audit,
    package_grants,
    package_roles,
    packages,
    sources,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from blobd.database.transaction import Transaction

UNSEEN = "?"


@dataclass(frozen=True, slots=True)
class Marked:
    """A package that was linked when labels gave rights, as it is now."""

    package_id: int
    findings: str
    owner_id: int
    full_name: str
    """`OWNER/NAME`, also of a deleted one."""
    source_id: int | None
    inherits: bool
    visibility: str
    published_at: float | None
    """When it was made public by an act of its own."""
    created_by: int | None
    deleted_at: float | None
    source_owner_id: int | None
    has_grants: bool
    """Whether workflows of the source repository were granted something."""
    maker_has_role: bool
    """Whether its maker was given a role on it; a workflow's voucher is not."""


def list_marked(transaction: Transaction, *, unseen: bool) -> list[Marked]:
    """Return packages that were not reviewed, or those with findings; by name."""
    is_unseen = packages.c.label_findings == UNSEEN
    wanted = is_unseen if unseen else packages.c.label_findings != UNSEEN
    granted = exists().where(
        package_grants.c.repository_id == packages.c.repository_id,
        package_grants.c.source_id == packages.c.source_id,
    )
    given = exists().where(
        package_roles.c.repository_id == packages.c.repository_id,
        package_roles.c.grantee_kind == "user",
        package_roles.c.grantee_id == packages.c.created_by,
    )
    query: Select[*tuple[Any, ...]] = (
        select(
            packages.c.repository_id,
            packages.c.label_findings,
            packages.c.owner_id,
            accounts.c.name + "/" + packages.c.name,
            packages.c.source_id,
            packages.c.inherits,
            packages.c.visibility,
            packages.c.published_at,
            packages.c.created_by,
            packages.c.deleted_at,
            sources.c.owner_id,
            granted,
            given,
        )
        .join(accounts, accounts.c.id == packages.c.owner_id)
        .outerjoin(sources, sources.c.id == packages.c.source_id)
        .where(wanted)
        .order_by(accounts.c.name, packages.c.name, packages.c.repository_id)
    )
    return [Marked(*row) for row in transaction.execute(query)]


def was_noted(transaction: Transaction, package: str, action: str, detail: str) -> bool:
    """Return whether the audit has an entry; `detail` is all of it, or its first word."""
    has_detail: ColumnElement[bool] = (audit.c.detail == detail) | audit.c.detail.startswith(
        f"{detail} ", autoescape=True
    )
    query = select(audit.c.id).where(
        audit.c.package == package, audit.c.action == action, has_detail
    )
    return transaction.execute(query.limit(1)).first() is not None


def set_findings(transaction: Transaction, package_id: int, before: str, after: str | None) -> bool:
    """Replace findings; return False where another process has replaced them already."""
    change = update(packages).where(
        packages.c.repository_id == package_id, packages.c.label_findings == before
    )
    return transaction.execute(change.values(label_findings=after)).rowcount > 0
