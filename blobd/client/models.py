"""What the client returns: blobs, uploads, and the progress of a transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blobd.digest import Digest


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobPage:
    """One page of a listing. `next_after` asks for the next page; None: this is the last."""

    blobs: tuple[Blob, ...]
    next_after: Digest | None


@dataclass(frozen=True, slots=True)
class Upload:
    """An open upload on the server. Times are seconds since the epoch."""

    id: str
    offset: int
    algorithm: str
    owner: str
    created_at: float
    touched_at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is. `done_bytes` may fall back when a connection is lost."""

    done_bytes: int
    total_bytes: int | None
    """None while an async source has not come to its end."""
    upload_id: str | None = None
    """What `push(..., upload_id=)` of a later process needs; None for downloads."""


ProgressCallback = Callable[[Progress], None]
