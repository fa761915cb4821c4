"""Manifests, what they name, and tags, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, literal_column, select

from blobd.database.statements import portions, upsert
from blobd.references.tables import blobs
from blobd.registry.catalog.tables import links, manifest_references, manifests, tags
from blobd.registry.media_types import MANIFESTS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from blobd.database.transaction import Transaction
    from blobd.digest import Digest
    from blobd.registry.names import Tag


@dataclass(frozen=True, slots=True)
class NewManifest:
    """A manifest to be written."""

    digest: Digest
    media_type: str
    content: bytes
    subject: Digest | None
    artifact_type: str | None
    annotations: str | None
    """As JSON."""
    references: Collection[Digest]


_UNRECOGNISED = manifests.c.media_type.not_in(
    [literal_column(f"'{media_type}'") for media_type in sorted(MANIFESTS)]
)


def write_manifest(
    transaction: Transaction, repository_id: int, manifest: NewManifest, *, now: float
) -> bool:
    """Write a manifest and what it names; return whether it is known as this push says.

    Equal bytes that are pushed again are read anew, under the newest media type; but what was
    pushed under a recognised one stays so when it is pushed under another.
    """
    row = {
        "repository_id": repository_id,
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "size_bytes": len(manifest.content),
        "subject": manifest.subject,
        "artifact_type": manifest.artifact_type,
        "annotations": manifest.annotations,
        "pushed_at": now,
        "content": manifest.content,
    }
    read_anew = ["media_type", "subject", "artifact_type", "annotations", "pushed_at"]
    where = None if manifest.media_type in MANIFESTS else _UNRECOGNISED
    prevails = upsert(transaction, manifests, row, replace=read_anew, where=where) > 0
    references = [
        {"repository_id": repository_id, "manifest": manifest.digest, "digest": digest}
        for digest in sorted(set(manifest.references))
    ]
    upsert(transaction, manifest_references, references, replace=[])
    return prevails


def delete_manifest(transaction: Transaction, repository_id: int, digest: Digest) -> bool:
    """Remove a manifest, its references and every tag of it; return whether it was there."""
    result = transaction.execute(
        delete(manifests).where(
            manifests.c.repository_id == repository_id, manifests.c.digest == digest
        )
    )
    return result.rowcount > 0


def referring(
    transaction: Transaction, repository_id: int, digest: Digest, *, limit: int
) -> list[Digest]:
    """Return manifests of a repository that name a digest, at most so many."""
    query = (
        select(manifest_references.c.manifest)
        .where(
            manifest_references.c.repository_id == repository_id,
            manifest_references.c.digest == digest,
        )
        .order_by(manifest_references.c.manifest)
        .limit(limit)
    )
    return list(transaction.execute(query).scalars())


def read_content(transaction: Transaction, repository_id: int, digest: Digest) -> bytes | None:
    """Return a manifest's bytes, of whatever size."""
    query = select(manifests.c.content).where(
        manifests.c.repository_id == repository_id, manifests.c.digest == digest
    )
    return transaction.execute(query).scalar_one_or_none()


def point_tags(
    transaction: Transaction,
    repository_id: int,
    names: Sequence[Tag],
    digest: Digest,
    *,
    now: float,
) -> None:
    """Let tags name a manifest, whatever they named before."""
    rows = [
        {"repository_id": repository_id, "name": name, "digest": digest, "updated_at": now}
        for name in sorted(set(names))
    ]
    upsert(transaction, tags, rows, replace=["digest", "updated_at"])


def tagged(
    transaction: Transaction, repository_id: int, names: Sequence[Tag]
) -> list[tuple[Tag, Digest]]:
    """Return which of these tags there are, and what they name; their rows are kept as they are."""
    query = select(tags.c.name, tags.c.digest).where(
        tags.c.repository_id == repository_id, tags.c.name.in_(sorted(set(names)))
    )
    rows = transaction.execute(query.order_by(tags.c.name).with_for_update())
    return [(name, digest) for name, digest in rows]


def delete_tag(transaction: Transaction, repository_id: int, name: Tag) -> bool:
    """Remove a tag, not its manifest; return whether it was there."""
    result = transaction.execute(
        delete(tags).where(tags.c.repository_id == repository_id, tags.c.name == name)
    )
    return result.rowcount > 0


def linked(
    transaction: Transaction, repository_id: int, digests: Collection[Digest]
) -> dict[Digest, int | None]:
    """Return which of these blobs the repository links, and keep those links as they are.

    Without those that are quarantined: they are to be pushed again. With their sizes in bytes;
    None where that is not known yet.
    """
    query = (
        select(links.c.digest, blobs.c.size_bytes)
        .join(blobs, blobs.c.digest == links.c.digest)
        .where(links.c.repository_id == repository_id, blobs.c.damaged_at.is_(None))
        .order_by(links.c.digest)
        .with_for_update(of=links)
    )
    found: dict[Digest, int | None] = {}
    for some in portions(digests):
        rows = transaction.execute(query.where(links.c.digest.in_(some)))
        found.update((digest, size_bytes) for digest, size_bytes in rows)
    return found


def present(
    transaction: Transaction, repository_id: int, digests: Collection[Digest]
) -> dict[Digest, int]:
    """Return which of these manifests the repository has, and keep them as they are.

    With their sizes in bytes.
    """
    query = (
        select(manifests.c.digest, manifests.c.size_bytes)
        .where(manifests.c.repository_id == repository_id)
        .order_by(manifests.c.digest)
        .with_for_update(read=True)
    )
    found: dict[Digest, int] = {}
    for some in portions(digests):
        rows = transaction.execute(query.where(manifests.c.digest.in_(some)))
        found.update((digest, size_bytes) for digest, size_bytes in rows)
    return found
