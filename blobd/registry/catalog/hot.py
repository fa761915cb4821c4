"""The reads of every request: a link, a manifest by digest, a manifest by tag.

They run on the event loop, through one read-only connection with prepared statements: an indexed
read takes microseconds there and a hundred times that through a thread. Every read sees what was
committed before it, by whatever process; nothing is kept between two of them. The methods are
coroutines because a database across a network will need them to be.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blobd.digest import Digest
from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.registry.names import RepositoryName, Tag

_INLINE_MAX_BYTES = 256 * 1024

_LINK = """
    SELECT blobs.size_bytes, links.touched_at
    FROM repositories
    JOIN links ON links.repository_id = repositories.id
    JOIN blobs ON blobs.digest = links.digest
    WHERE repositories.name = ? AND links.digest = ?
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


class Hot:
    """One connection for the event loop's own reads. Raises BackendUnavailable throughout."""

    def __init__(self, path: Path) -> None:
        """Open the migrated database. Blocks."""
        self._connection = sqlite3.connect(
            f"file:{escaped(path)}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.execute("PRAGMA query_only = ON")

    async def link(self, repository: RepositoryName, digest: Digest) -> Link | None:
        """Return the repository's link to a blob; None where it has none."""
        row = self._row(_LINK, repository, str(digest))
        return None if row is None else Link(*row)

    async def named(self, repository: RepositoryName, digest: Digest) -> bool:
        """Return whether a manifest of the repository names a blob."""
        return self._row(_NAMED, repository, str(digest)) is not None

    async def manifest(self, repository: RepositoryName, digest: Digest) -> StoredManifest | None:
        """Return a manifest by its digest."""
        return _manifest(self._row(_MANIFEST, repository, str(digest)))

    async def tagged(self, repository: RepositoryName, tag: Tag) -> StoredManifest | None:
        """Return the manifest that a tag names."""
        return _manifest(self._row(_TAGGED, repository, tag))

    async def knows(self, repository: RepositoryName) -> bool:
        """Return whether there is such a repository."""
        return self._row(_REPOSITORY, repository) is not None

    def close(self) -> None:
        """Close the connection; blocks."""
        self._connection.close()

    def _row(self, statement: str, *values: str) -> Any:
        try:
            # All rows are fetched, though there is one: an unfinished statement would keep its
            # view of the database, and the write-ahead log from being folded in.
            rows = self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            raise BackendUnavailable(f"the catalog cannot be read right now: {error}") from error
        return rows[0] if rows else None


def _manifest(row: tuple[str, str, int, bytes | None] | None) -> StoredManifest | None:
    if row is None:
        return None
    digest, media_type, size_bytes, content = row
    return StoredManifest(Digest.parse(digest), media_type, size_bytes, content)


def escaped(path: Path) -> str:
    """Return a path as SQLite reads it in a URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
