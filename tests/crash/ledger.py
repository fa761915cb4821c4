"""What the daemon has promised so far, as its clients heard it.

Every fact is changed by one client only, so between two of its requests it is known exactly; while
a request is under way, or if its answer was lost, it is one of two. Others may look on: a
`Promise` counts its changes, and what they saw while it changed binds nobody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.contents import Content


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client pushes to: a repository of the registry, or, without one, the blob API."""

    repository: str = ""

    @property
    def uploads(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/" if self.repository else "/uploads"

    def upload(self, upload_id: str) -> str:
        return f"{self.uploads.rstrip('/')}/{upload_id}"

    def blob(self, digest: str) -> str:
        return f"/v2/{self.repository}/blobs/{digest}" if self.repository else f"/blobs/{digest}"

    def manifest(self, reference: str) -> str:
        return f"/v2/{self.repository}/manifests/{reference}"


class State(Enum):
    """Whether something is there, by the last answer about it."""

    GONE = auto()
    HELD = auto()
    UNSURE = auto()


@dataclass(slots=True)
class Promise:
    """One thing that is there or not: a hold on a blob, or a manifest."""

    state: State = State.GONE
    changes: int = 0

    @contextmanager
    def asked(self, outcome: State) -> Iterator[None]:
        """Ask for a change; it is certain when the block ends well."""
        self.state = State.UNSURE
        self.changes += 1
        yield
        self.settle(outcome)

    def settle(self, seen: State) -> None:
        self.state = seen
        self.changes += 1


class Doing(Enum):
    """What the last request on an upload was, of which no answer was heard."""

    NOTHING = auto()
    APPENDING = auto()
    FINISHING = auto()
    CANCELLING = auto()


@dataclass(slots=True)
class Session:
    """An upload as its client knows it."""

    upload_id: str
    content: Content
    offset: int = 0
    """The last one acknowledged."""
    sent: int = 0
    """The most that may have arrived."""
    doing: Doing = Doing.NOTHING
    unsettled: bool = False
    """Whether a PATCH that its client broke off may still be saved."""

    @property
    def left(self) -> memoryview:
        return memoryview(self.content.data)[self.offset :]


@dataclass(slots=True)
class Book:
    """One client's part of the ledger."""

    place: Place
    name: str
    blobs: dict[str, Promise] = field(default_factory=lambda: defaultdict(Promise))
    contents: dict[str, Content] = field(default_factory=dict)
    """What was ever pushed or asked for here, by digest."""
    sessions: list[Session] = field(default_factory=list)
    """Uploads that may be open."""
    manifests: dict[str, Promise] = field(default_factory=lambda: defaultdict(Promise))
    documents: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, set[str | None]] = field(default_factory=lambda: defaultdict(lambda: {None}))
    """Every manifest that a tag may point to; None: to none."""
    pushing: tuple[str, str] | None = None
    """The manifest and the reference of a push without an answer, if nothing followed it."""

    def held(self) -> list[str]:
        return [digest for digest, promise in self.blobs.items() if promise.state is State.HELD]

    def held_manifests(self) -> list[str]:
        return [digest for digest, known in self.manifests.items() if known.state is State.HELD]


@dataclass(slots=True)
class Ledger:
    """All books, and what is nobody's."""

    books: list[Book]
    finished: set[str] = field(default_factory=set)
    """Uploads that may have left a receipt."""
    broken: set[str] = field(default_factory=set)
    """Uploads whose removal was under way at a kill: half of one may be left, for expiry."""
    nameless: int = 0
    """Uploads that a kill kept their client from learning of, at most."""
    unacknowledged: Counter[str] = field(default_factory=Counter)
    """Bytes that writers who were killed or broke off had taken in beyond their last answer."""
    at_once: int = 0
    """Uploads whose client was never to learn of them, as their POST ended them, at most."""

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Begin an upload; if that breaks off, it may be there, of an id that nobody knows."""
        self.nameless += 1
        yield
        self.nameless -= 1

    def open_sessions(self) -> dict[str, Session]:
        return {session.upload_id: session for book in self.books for session in book.sessions}
