"""The reads of every request: a link, a manifest by digest, a manifest by tag.

How a row is had is the business of the database's `Reader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blobd.digest import Digest
from blobd.registry.media_types import INDEXES

if TYPE_CHECKING:
    from blobd.database import Reader
    from blobd.registry.names import RepositoryName, Tag

_INLINE_MAX_BYTES = 256 * 1024

_LINK = """
    SELECT blobs.size_bytes, links.touched_at
    FROM repositories
    JOIN links ON links.repository_id = repositories.id
    JOIN blobs ON blobs.digest = links.digest
    WHERE repositories.name = ? AND links.digest = ? AND blobs.damaged_at IS NULL
"""
_NAMED = """
    SELECT 1
    FROM repositories
    JOIN manifest_references AS r ON r.repository_id = repositories.id
    WHERE repositories.name = ? AND r.digest = ?
    LIMIT 1
"""
_MANIFEST = f"""
    SELECT m.digest, m.media_type, m.size_bytes,
           CASE WHEN m.size_bytes <= {_INLINE_MAX_BYTES} THEN m.content END
    FROM repositories
    JOIN manifests AS m ON m.repository_id = repositories.id
    WHERE repositories.name = ? AND m.digest = ?
"""  # noqa: S608
_TAGGED = f"""
    SELECT m.digest, m.media_type, m.size_bytes,
           CASE WHEN m.size_bytes <= {_INLINE_MAX_BYTES} THEN m.content END
    FROM repositories
    JOIN tags ON tags.repository_id = repositories.id
    JOIN manifests AS m ON m.repository_id = tags.repository_id AND m.digest = tags.digest
    WHERE repositories.name = ? AND tags.name = ?
"""  # noqa: S608
_LISTED_BY = f"""
    SELECT m.digest
    FROM repositories
    JOIN manifest_references AS r ON r.repository_id = repositories.id
    JOIN manifests AS m ON m.repository_id = r.repository_id AND m.digest = r.manifest
    WHERE repositories.name = ? AND r.digest = ?
      AND m.media_type IN ({", ".join(f"'{media_type}'" for media_type in sorted(INDEXES))})
      AND NOT EXISTS (
          SELECT 1 FROM links WHERE links.repository_id = r.repository_id
          AND links.digest = r.digest
      )
    ORDER BY m.pushed_at DESC
    LIMIT 1
"""  # noqa: S608
_REPOSITORY = "SELECT 1 FROM repositories WHERE name = ?"


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of a blob that a repository may see."""

    size_bytes: int
    touched_at: float


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was pushed. `content` is None where it is too large to read in passing."""

    digest: Digest
    media_type: str
    size_bytes: int
    content: bytes | None


class ReadQueries:
    """The event loop's own reads. Raises BackendUnavailable throughout."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def link(self, repository: RepositoryName, digest: Digest) -> Link | None:
        """Return the repository's link to a blob; None where it has none.

        None too while the blob is quarantined, so that pushers send it again.
        """
        row = await self._row(_LINK, repository, str(digest))
        return None if row is None else Link(*row)

    async def named(self, repository: RepositoryName, digest: Digest) -> bool:
        """Return whether a manifest of the repository names a blob."""
        return await self._row(_NAMED, repository, str(digest)) is not None

    async def manifest(self, repository: RepositoryName, digest: Digest) -> StoredManifest | None:
        """Return a manifest by its digest."""
        return _manifest(await self._row(_MANIFEST, repository, str(digest)))

    async def tagged(self, repository: RepositoryName, tag: Tag) -> StoredManifest | None:
        """Return the manifest that a tag names."""
        return _manifest(await self._row(_TAGGED, repository, tag))

    async def listed_by(self, repository: RepositoryName, digest: Digest) -> Digest | None:
        """Return the newest index that lists a manifest; None where the digest is a blob's."""
        row = await self._row(_LISTED_BY, repository, str(digest))
        return None if row is None else Digest.parse(row[0])

    async def knows(self, repository: RepositoryName) -> bool:
        """Return whether there is such a repository."""
        return await self._row(_REPOSITORY, repository) is not None

    async def _row(self, statement: str, *values: str) -> Any:
        rows = await self._reader.rows(statement, *values)
        return rows[0] if rows else None


def _manifest(row: tuple[str, str, int, bytes | None] | None) -> StoredManifest | None:
    if row is None:
        return None
    digest, media_type, size_bytes, content = row
    return StoredManifest(Digest.parse(digest), media_type, size_bytes, content)
