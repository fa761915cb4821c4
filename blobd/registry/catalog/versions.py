"""Versions of packages, in SQL: one row for each manifest that was ever pushed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, select, update

from blobd.database.statements import portions, upsert
from blobd.references.tables import blobs
from blobd.registry.catalog.indexes import children_of, parents_of
from blobd.registry.catalog.tables import tags, trashed_tags, versions

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Select

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest
    from blobd.registry.catalog.indexes import Parent


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be written."""

    digest: Digest
    artifact_type: str | None
    platforms: Sequence[str]
    description: str | None
    licences: str | None
    size_bytes: int
    warnings: Sequence[str] = ()
    """What of its own words was cut or not taken over, a line each."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version as people see it."""

    version_id: int
    digest: Digest
    artifact_type: str | None
    platforms: tuple[str, ...]
    description: str | None
    licences: str | None
    size_bytes: int
    """All that a pull of it fetches; of an index, of all its platforms."""
    created_at: float
    updated_at: float
    downloads: int
    last_pulled_at: float | None
    deleted_at: float | None
    tags: tuple[str, ...]
    parents: tuple[Parent, ...]
    """The indexes that list it."""
    children: tuple[Digest, ...]
    """What an index lists, as far as it is here."""
    warnings: tuple[str, ...] = ()
    """What of its own words was cut or not taken over."""


_COLUMNS = (
    versions.c.id,
    versions.c.digest,
    versions.c.artifact_type,
    versions.c.platforms,
    versions.c.description,
    versions.c.licences,
    versions.c.size_bytes,
    versions.c.created_at,
    versions.c.updated_at,
    versions.c.downloads,
    versions.c.last_pulled_at,
    versions.c.deleted_at,
    versions.c.warnings,
)
_DELETED_AT = select(versions.c.deleted_at).where(
    versions.c.repository_id == bindparam("id"), versions.c.digest == bindparam("blob")
)


def write_version(
    transaction: Transaction, package_id: int, version: NewVersion, *, now: float
) -> None:
    """Write a version; one that is there is there again, with what it says of itself now."""
    row = {
        "repository_id": package_id,
        "digest": version.digest,
        "artifact_type": version.artifact_type,
        "platforms": ",".join(version.platforms),
        "description": version.description,
        "licences": version.licences,
        "size_bytes": version.size_bytes,
        "warnings": "\n".join(version.warnings) or None,
        "created_at": now,
        "updated_at": now,
        "downloads": 0,
        "deleted_at": None,
    }
    upsert(
        transaction,
        versions,
        row,
        replace=[
            "updated_at",
            "deleted_at",
            "artifact_type",
            "description",
            "licences",
            "size_bytes",
            "warnings",
            "platforms",
        ],
        unique=("repository_id", "digest"),
    )


def note_push(transaction: Transaction, package_id: int, digest: Digest, *, now: float) -> None:
    """Note that a version was pushed again, and said nothing new of itself."""
    change = update(versions).where(
        versions.c.repository_id == package_id, versions.c.digest == digest
    )
    transaction.execute(change.values(updated_at=now))


def has_versions(transaction: Transaction, package_id: int) -> bool:
    """Return whether anything was ever published in a package."""
    query = select(versions.c.id).where(versions.c.repository_id == package_id).limit(1)
    return transaction.execute(query).first() is not None


def last_pull(transaction: Transaction, package_id: int) -> float:
    """Return when something of a package was pulled last, as far as it is written; 0: never."""
    query = select(func.max(versions.c.last_pulled_at)).where(
        versions.c.repository_id == package_id
    )
    return transaction.execute(query).scalar_one() or 0.0


def is_deleted(transaction: Transaction, package_id: int, digest: Digest) -> bool:
    """Return whether a version lies in the trash."""
    rows = transaction.fetch(_DELETED_AT, {"id": package_id, "blob": digest})
    return bool(rows) and rows[0][0] is not None


def find_version(transaction: Transaction, package_id: int, version_id: int) -> Version | None:
    """Return a version by its number, deleted or not."""
    query = select(*_COLUMNS).where(versions.c.repository_id == package_id)
    found = _with_tags(transaction, package_id, query.where(versions.c.id == version_id))
    return found[0] if found else None


def find_digest(transaction: Transaction, package_id: int, digest: Digest) -> Version | None:
    """Return a version by its digest, deleted or not."""
    query = select(*_COLUMNS).where(versions.c.repository_id == package_id)
    found = _with_tags(transaction, package_id, query.where(versions.c.digest == digest))
    return found[0] if found else None


def find_digests(
    transaction: Transaction, package_id: int, digests: Collection[Digest]
) -> list[Version]:
    """Return the versions of these digests, be they deleted."""
    found: list[Version] = []
    for some in portions(digests):
        query = select(*_COLUMNS).where(
            versions.c.repository_id == package_id, versions.c.digest.in_(some)
        )
        found += _with_tags(transaction, package_id, query)
    return found


def list_versions(
    transaction: Transaction, package_id: int, *, deleted: bool, offset: int, limit: int
) -> list[Version]:
    """Return versions, the newest first.

    What is skipped is skipped in an index; only the rows of the page are read.
    """
    newest = (versions.c.created_at.desc(), versions.c.id.desc())
    # PostgreSQL reads the index in order only where the order names all of its columns
    in_index = newest if deleted else (versions.c.deleted_at.desc(), *newest)
    page = (
        select(versions.c.id)
        .where(versions.c.repository_id == package_id, _is(deleted=deleted))
        .order_by(*in_index)
        .offset(offset)
        .limit(limit)
        .subquery()
    )
    query = select(*_COLUMNS).join(page, page.c.id == versions.c.id).order_by(*newest)
    return _with_tags(transaction, package_id, query)


def list_warned(transaction: Transaction, package_id: int, *, limit: int) -> list[Version]:
    """Return versions of which not all words were taken over, the newest first."""
    query = (
        select(*_COLUMNS)
        .where(
            versions.c.repository_id == package_id,
            versions.c.warnings.is_not(None),
            _is(deleted=False),
        )
        .order_by(versions.c.created_at.desc(), versions.c.id.desc())
        .limit(limit)
    )
    return _with_tags(transaction, package_id, query)


def count_versions(transaction: Transaction, package_id: int, *, deleted: bool) -> int:
    """Return how many versions there are."""
    query = select(func.count()).where(versions.c.repository_id == package_id, _is(deleted=deleted))
    return transaction.execute(query).scalar_one()


def is_tagged_beside(transaction: Transaction, package_id: int, digest: Digest) -> bool:
    """Return whether a package has a tag on another version than this one."""
    query = select(tags.c.name).where(tags.c.repository_id == package_id, tags.c.digest != digest)
    return transaction.execute(query.limit(1)).first() is not None


def most_downloads(transaction: Transaction, package_id: int) -> int:
    """Return how often the most pulled version of a package was."""
    query = select(func.max(versions.c.downloads)).where(versions.c.repository_id == package_id)
    return transaction.execute(query).scalar_one() or 0


def set_version_deleted(
    transaction: Transaction, package_id: int, digest: Digest, at: float | None
) -> None:
    """Note since when a version is in the trash, or that it is not."""
    change = update(versions).where(
        versions.c.repository_id == package_id, versions.c.digest == digest
    )
    transaction.execute(change.values(deleted_at=at))


def delete_version(transaction: Transaction, package_id: int, digest: Digest) -> None:
    """Forget a version."""
    transaction.execute(
        delete(versions).where(versions.c.repository_id == package_id, versions.c.digest == digest)
    )


def size_of(transaction: Transaction, digests: Collection[Digest]) -> int:
    """Return how many bytes these blobs have together, as far as they are stored here."""
    total = 0
    for some in portions(digests):
        query = select(func.sum(blobs.c.size_bytes)).where(blobs.c.digest.in_(some))
        total += int(transaction.execute(query).scalar() or 0)
    return total


def of_digests(
    transaction: Transaction, package_id: int, digests: Collection[Digest]
) -> list[tuple[int, str]]:
    """Return sizes and platforms (separated by commas) of the versions of these digests.

    What is deleted is left out: an index may list it, and nobody can pull it.
    """
    found: list[tuple[int, str]] = []
    for some in portions(digests):
        query = select(versions.c.size_bytes, versions.c.platforms).where(
            versions.c.repository_id == package_id,
            versions.c.digest.in_(some),
            versions.c.deleted_at.is_(None),
        )
        found += [(size_bytes, platforms) for size_bytes, platforms in transaction.execute(query)]
    return found


def _is(*, deleted: bool) -> ColumnElement[bool]:
    return versions.c.deleted_at.is_not(None) if deleted else versions.c.deleted_at.is_(None)


def _with_tags(
    transaction: Transaction, package_id: int, query: Select[*tuple[Any, ...]]
) -> list[Version]:
    rows = transaction.execute(query).all()
    named: dict[Digest, list[str]] = defaultdict(list)
    for some in portions([row.digest for row in rows]):
        for table in (tags, trashed_tags):
            names = select(table.c.digest, table.c.name).where(
                table.c.repository_id == package_id, table.c.digest.in_(some)
            )
            for digest, name in transaction.execute(names.order_by(table.c.name)):
                named[digest].append(name)
    digests = [row.digest for row in rows]
    parents = parents_of(transaction, package_id, digests)
    children = children_of(transaction, package_id, digests)
    return [
        Version(
            version_id=row.id,
            digest=row.digest,
            artifact_type=row.artifact_type,
            platforms=tuple(filter(None, row.platforms.split(","))),
            description=row.description,
            licences=row.licences,
            size_bytes=row.size_bytes,
            created_at=row.created_at,
            updated_at=row.updated_at,
            downloads=row.downloads,
            last_pulled_at=row.last_pulled_at,
            deleted_at=row.deleted_at,
            tags=tuple(named[row.digest]),
            parents=parents.get(row.digest, ()),
            children=children.get(row.digest, ()),
            warnings=tuple((row.warnings or "").splitlines()),
        )
        for row in rows
    ]
