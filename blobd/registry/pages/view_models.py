"""What the pages show, as values. Rendered by `render.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blobd.registry.catalog.browse import Owner
    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.versions import Version
    from blobd.registry.packages.browse import Detail, TagPage


@dataclass(frozen=True, slots=True)
class Around:
    """What every page has around its content."""

    host: str
    """What to pull from."""
    visitor: str = ""
    """The signed-in account; empty: none."""
    here: str = ""
    """This page's path and query, to come back to after signing in."""
    csrf: str = ""
    """What forms of this session must carry; empty where there is no session."""
    is_administrator: bool = False
    """Whether the visitor administers the registry."""
    closed: bool = True
    """Whether there are identities: without them there is nothing to sign in to."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list it is."""

    page: int = 1
    pages: int = 1
    query: Mapping[str, str] = field(default_factory=dict)
    """What the links to other pages keep."""


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """The owners and packages that one visitor may see."""

    owners: Sequence[Owner]
    more_owners: bool
    """Whether there are more than these."""
    packages: Sequence[Package]
    total: int
    text: str
    """What was searched for."""
    paging: Paging


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """An owner's packages, as one visitor may see them."""

    owner: str
    kind: str
    """`user` or `organisation`."""
    packages: Sequence[Package]
    text: str = ""
    paging: Paging = field(default_factory=Paging)
    has_settings: bool = False
    """Whether the visitor belongs here, and may send forms."""


@dataclass(frozen=True, slots=True)
class TagsFacts:
    """A package and one page of its tags."""

    package: Package
    tags: TagPage
    text: str = ""
    order: str = "version"
    paging: Paging = field(default_factory=Paging)
    administers: bool = False
    """Whether the visitor may change the package here."""
    access: Mapping[str, object] | None = None
    """Access to it, as the management API shows it; None for visitors who cannot see it."""
    warned: Sequence[Version] = ()
    """For admins: versions of which not all words are shown."""


@dataclass(frozen=True, slots=True)
class VersionsFacts:
    """A package and one page of its versions, tagged or not, the newest first."""

    package: Package
    versions: Sequence[Version]
    paging: Paging = field(default_factory=Paging)
    administers: bool = False


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version of a package."""

    package: Package
    detail: Detail
    administers: bool = False
    is_admin: bool = False
    """Whether the visitor sees what was left out, wherever forms may be sent from."""


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """The head of a package's settings, which are for its admins alone."""

    package: Package
    administers: bool = True
