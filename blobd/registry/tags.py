"""Tags and repositories: listing them by page, in byte order, and deleting tags (R54-R58, R67)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.catalog import contents, listings, repositories
from blobd.registry.errors import ManifestUnknown, NameUnknown

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.names import RepositoryName, Tag

PAGE_MAX = 10_000
"""The most names in one answer, and the default number."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some names in order; `next_after` is where the next page starts, None after the last."""

    names: tuple[str, ...]
    next_after: str | None


async def list_tags(
    catalog: Catalog, repository: RepositoryName, *, after: str, limit: int
) -> Page:
    """Return at most `limit` tags strictly after a text, which need be no tag.

    Raises NameUnknown.
    """
    size = min(limit, PAGE_MAX)

    def find(transaction: Transaction) -> list[Tag]:
        repository_id = repositories.find_repository(transaction, repository)
        if repository_id is None:
            raise NameUnknown(repository)
        return listings.list_tags(transaction, repository_id, after=after, limit=size + 1)

    return _page(await catalog.read(find), size)


async def list_repositories(catalog: Catalog, subject: Subject, *, after: str, limit: int) -> Page:
    """Return at most `limit` repositories that a subject may read, strictly after a text."""
    size = min(limit, PAGE_MAX)
    found = await catalog.read(
        lambda transaction: listings.list_repositories(
            transaction, subject, after=after, limit=size + 1
        )
    )
    return _page(found, size)


async def delete_tag(catalog: Catalog, repository: RepositoryName, tag: Tag) -> None:
    """Remove a tag; its manifest stays. Raises ManifestUnknown, NameUnknown."""

    def delete(transaction: Transaction) -> None:
        repository_id = repositories.find_repository(transaction, repository)
        if repository_id is None:
            raise NameUnknown(repository)
        if not contents.delete_tag(transaction, repository_id, tag):
            raise ManifestUnknown(tag)

    await catalog.write(delete)


def _page(found: list[Tag] | list[RepositoryName], size: int) -> Page:
    names = tuple(found[:size])
    return Page(names, names[-1] if names and len(found) > size else None)
