"""The trash, in SQL: what is deleted lies in repositories that no request can name.

A deleted package's repository is renamed; a deleted version's manifest is moved into a repository
of its package's own, with links to the blobs that it names, which holds them as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, insert, literal, select, update

from blobd.database.statements import upsert
from blobd.references import holds
from blobd.registry.catalog import contents
from blobd.registry.catalog.links import link
from blobd.registry.catalog.repositories import find_repository, make_repository
from blobd.registry.catalog.tables import (
    links,
    manifest_references,
    manifests,
    package_grants,
    package_roles,
    packages,
    repositories,
    tags,
    trashed_tags,
    versions,
)
from blobd.registry.names import RepositoryName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest


def deleted_name(package_id: int) -> RepositoryName:
    """Return what a deleted package's repository is called."""
    return RepositoryName(f"@deleted/{package_id}")


def trash_name(package_id: int) -> RepositoryName:
    """Return what the repository of a package's deleted versions is called."""
    return RepositoryName(f"@trash/{package_id}")


def trash_manifest(
    transaction: Transaction, package_id: int, digest: Digest, *, now: float
) -> bool:
    """Move a manifest into the trash, with its tags noted; return whether it was there."""
    trash_id = make_repository(transaction, trash_name(package_id), now=now)
    if not _copy(transaction, package_id, trash_id, digest, now=now):
        return False
    forget_tags(transaction, package_id, digest)
    named = select(literal(package_id), tags.c.digest, tags.c.name).where(
        tags.c.repository_id == package_id, tags.c.digest == digest
    )
    columns = ["repository_id", "digest", "name"]
    transaction.execute(insert(trashed_tags).from_select(columns, named))
    contents.delete_manifest(transaction, package_id, digest)
    return True


def restore_manifest(
    transaction: Transaction, package_id: int, digest: Digest, *, now: float
) -> Sequence[str]:
    """Move a manifest back; return the tags that are in use by now, and stay where they are."""
    trash_id = make_repository(transaction, trash_name(package_id), now=now)
    _copy(transaction, trash_id, package_id, digest, now=now)
    contents.delete_manifest(transaction, trash_id, digest)
    query = select(trashed_tags.c.name).where(
        trashed_tags.c.repository_id == package_id, trashed_tags.c.digest == digest
    )
    wanted = list(transaction.execute(query).scalars())
    used = select(tags.c.name).where(tags.c.repository_id == package_id, tags.c.name.in_(wanted))
    in_use = set(transaction.execute(used).scalars())
    contents.point_tags(
        transaction,
        package_id,
        [name for name in wanted if name not in in_use],
        digest,
        now=now,
    )
    forget_tags(transaction, package_id, digest)
    return sorted(in_use)


def drop_manifest(transaction: Transaction, package_id: int, digest: Digest) -> None:
    """Remove a manifest from the trash, for good; what it held lapses by garbage collection."""
    trash_id = find_repository(transaction, trash_name(package_id))
    if trash_id is not None:
        contents.delete_manifest(transaction, trash_id, digest)
    forget_tags(transaction, package_id, digest)


def forget_tags(transaction: Transaction, package_id: int, digest: Digest) -> None:
    """Forget which tags a deleted version had."""
    transaction.execute(
        delete(trashed_tags).where(
            trashed_tags.c.repository_id == package_id, trashed_tags.c.digest == digest
        )
    )


def rename_repository(transaction: Transaction, repository_id: int, name: RepositoryName) -> None:
    """Give a repository another name, which is free."""
    transaction.execute(
        update(repositories).where(repositories.c.id == repository_id).values(name=name)
    )


def rename_if_free(
    transaction: Transaction, repository_id: int, name: RepositoryName, *, now: float
) -> bool:
    """Give a repository a name that others may be taking just now; return whether it was free."""
    row = {"name": name, "created_at": now}
    if not upsert(transaction, repositories, row, replace=[], unique=("name",)):
        return False
    # the name is this transaction's alone from here on
    transaction.execute(delete(repositories).where(repositories.c.name == name))
    rename_repository(transaction, repository_id, name)
    return True


def list_overdue(
    transaction: Transaction, *, before: float, limit: int
) -> tuple[list[int], list[tuple[int, Digest]]]:
    """Return packages and versions that were deleted before a time."""
    gone = select(packages.c.repository_id).where(packages.c.deleted_at < before).limit(limit)
    old = (
        select(versions.c.repository_id, versions.c.digest)
        .where(versions.c.deleted_at < before)
        .limit(limit)
    )
    return list(transaction.execute(gone).scalars()), [
        (package_id, digest) for package_id, digest in transaction.execute(old)
    ]


def list_empty(transaction: Transaction, *, before: float, limit: int) -> list[int]:
    """Return packages made before a time that have no version, deleted or not, and no blob."""
    of_package = versions.c.repository_id == packages.c.repository_id
    linked = links.c.repository_id == packages.c.repository_id
    query = select(packages.c.repository_id).where(
        packages.c.deleted_at.is_(None),
        packages.c.created_at < before,
        ~exists().where(of_package),
        ~exists().where(linked),
    )
    return list(transaction.execute(query.limit(limit)).scalars())


def drop_package(transaction: Transaction, package_id: int) -> None:
    """Forget a package and its manifests, for good; its links lapse by garbage collection."""
    trash_id = find_repository(transaction, trash_name(package_id))
    for repository_id in filter(None, (package_id, trash_id)):
        transaction.execute(delete(manifests).where(manifests.c.repository_id == repository_id))
    for table in (trashed_tags, versions, package_roles, package_grants, packages):
        transaction.execute(delete(table).where(table.c.repository_id == package_id))


def _copy(transaction: Transaction, start: int, end: int, digest: Digest, *, now: float) -> bool:
    """Copy a manifest to another repository, and link there what it names and is linked here."""
    held = select(links.c.digest).where(
        links.c.repository_id == start,
        links.c.digest.in_(
            select(manifest_references.c.digest).where(
                manifest_references.c.repository_id == start,
                manifest_references.c.manifest == digest,
            )
        ),
    )
    # in the order that every writer takes them, so that no two wait for each other
    for blob in transaction.execute(held.order_by(links.c.digest)).scalars().all():
        if holds.lock(transaction, blob):
            link(transaction, end, blob, now=now)
    kept = [column for column in manifests.c if column.name != "repository_id"]
    there = select(literal(end).label("repository_id"), *kept).where(
        manifests.c.repository_id == start, manifests.c.digest == digest
    )
    row = transaction.execute(there).mappings().first()
    if row is None:
        return False
    # it may be pushed there again at the same time: then it is the same
    upsert(transaction, manifests, dict(row), replace=[])
    references = select(
        literal(end).label("repository_id"),
        manifest_references.c.manifest,
        manifest_references.c.digest,
    ).where(manifest_references.c.repository_id == start, manifest_references.c.manifest == digest)
    rows = [dict(each) for each in transaction.execute(references).mappings()]
    upsert(transaction, manifest_references, rows, replace=[])
    return True
