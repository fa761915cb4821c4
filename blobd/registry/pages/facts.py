"""What the pages show, as values. Filled by who may read it; rendered by `render.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.digest import Digest


@dataclass(frozen=True, slots=True)
class PackageRow:
    """One package in its owner's list."""

    name: str
    """Without the owner, as `app` or `app/worker`."""
    visibility: str
    description: str | None
    downloads: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """An owner's list, as one visitor may see it."""

    owner: str
    kind: str
    """`user` or `organisation`."""
    packages: Sequence[PackageRow]
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One manifest of a package."""

    digest: Digest
    tags: Sequence[str]
    platforms: Sequence[str]
    """As `linux/amd64`; of all that an index lists."""
    artifact_type: str | None
    """What it is where it is no image: a signature, a chart, a model."""
    size_bytes: int
    """All that a pull of it fetches; of an index, of all its platforms."""
    pushed_at: float
    downloads: int
    part_of: Sequence[str | Digest] = ()
    """The indexes that list it: by their tags, or by digest where they have none."""
    children: Sequence[Digest] = ()
    """What an index lists."""


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """A package and one page of its versions, newest first."""

    owner: str
    name: str
    visibility: str
    description: str | None
    licences: str | None
    source_url: str | None
    downloads: int
    version_count: int
    versions: Sequence[VersionRow]
    page: int
    pages: int

    @property
    def path(self) -> str:
        """The name to pull by, without the host."""
        return f"{self.owner}/{self.name}"

    @property
    def suggested(self) -> tuple[str, Digest] | None:
        """The tag to suggest, and its digest: `latest`, or the first there is."""
        tagged = [(tag, row.digest) for row in self.versions for tag in row.tags]
        latest = [pair for pair in tagged if pair[0] == "latest"]
        return next(iter(latest or tagged), None)
