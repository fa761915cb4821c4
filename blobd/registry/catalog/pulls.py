"""Downloads, in SQL: counted by version, but not what an index's puller fetches next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, case, delete, select, update

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import index_pulls, manifest_references, packages, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest

_PULLED_BEFORE = (
    select(index_pulls.c.digest)
    .join(
        manifest_references,
        (manifest_references.c.repository_id == index_pulls.c.repository_id)
        & (manifest_references.c.manifest == index_pulls.c.digest),
    )
    .where(
        index_pulls.c.repository_id == bindparam("package"),
        index_pulls.c.caller == bindparam("who"),
        manifest_references.c.digest == bindparam("child"),
        index_pulls.c.pulled_at >= bindparam("since"),
    )
)
_COUNT_VERSION = (
    update(versions)
    .where(versions.c.repository_id == bindparam("package"), versions.c.digest == bindparam("blob"))
    .values(
        downloads=versions.c.downloads + bindparam("more"),
        last_pulled_at=case(
            (versions.c.last_pulled_at > bindparam("at"), versions.c.last_pulled_at),
            else_=bindparam("at"),
        ),
    )
)
_COUNT_PACKAGE = (
    update(packages)
    .where(packages.c.repository_id == bindparam("package"))
    .values(downloads=packages.c.downloads + bindparam("more"))
)


def note_index_pull(
    transaction: Transaction, package_id: int, caller: str, digest: Digest, *, at: float
) -> None:
    """Note that a caller has got an index."""
    row = {"repository_id": package_id, "caller": caller, "digest": digest, "pulled_at": at}
    upsert(transaction, index_pulls, row, replace=["pulled_at"])


def follows_index(
    transaction: Transaction,
    package_id: int,
    caller: str,
    digest: Digest,
    *,
    at: float,
    within_s: float,
) -> bool:
    """Return whether a caller got an index that lists this manifest around that time.

    Only the last pull of an index is known: of a caller that goes on pulling, it is later than the
    manifest that followed the one before.
    """
    values = {
        "package": package_id,
        "who": caller,
        "child": digest,
        "since": at - within_s,
    }
    return bool(transaction.fetch(_PULLED_BEFORE, values))


def count_downloads(
    transaction: Transaction, counted: Mapping[tuple[int, Digest], tuple[int, float]]
) -> None:
    """Add to the downloads of versions and of their packages: how many, and when last."""
    if not counted:
        return
    ordered = sorted(counted.items())
    transaction.execute(
        _COUNT_VERSION,
        [
            {"package": package_id, "blob": digest, "more": more, "at": at}
            for (package_id, digest), (more, at) in ordered
        ],
    )
    by_package: dict[int, int] = {}
    for (package_id, _), (more, _) in ordered:
        by_package[package_id] = by_package.get(package_id, 0) + more
    transaction.execute(
        _COUNT_PACKAGE, [{"package": each, "more": more} for each, more in by_package.items()]
    )


def forget_index_pulls(transaction: Transaction, *, before: float) -> None:
    """Forget who got which index, once it matters no longer."""
    transaction.execute(delete(index_pulls).where(index_pulls.c.pulled_at < before))
