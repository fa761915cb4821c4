"""Places where a backend keeps its bytes, and a look at them that goes around blobd.

Everything here blocks; a test calls it through `acts.off_loop`.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from blobd.backends.filesystem import backend as filesystem
from blobd.backends.filesystem.backend import Filesystem
from blobd.backends.memory import Memory
from blobd.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from blobd.backends.base import Backend


_OF_UPLOADS = ("bytes", "provisional", "record", "claim")


class Site(ABC):
    """One place, on which backends can be opened."""

    appends_wait = True
    """Whether an append of some hundred KiB waits for the place, so that it can be cancelled."""

    @abstractmethod
    def open(self) -> Backend:
        """Open a backend on what is there, as after a restart where the place outlives one."""

    @abstractmethod
    def shorten_takeover(self, patch: pytest.MonkeyPatch, wait_s: float) -> None:
        """Make backends give up sooner on a writer that does not let go."""

    @abstractmethod
    def peek_blob(self, digest: Digest) -> bytes | None:
        """Return the stored bytes of a blob."""

    @abstractmethod
    def plant_blob(self, digest: Digest, data: bytes) -> None:
        """Store bytes as a blob."""

    @abstractmethod
    def clear(self) -> None:
        """Remove all blobs and uploads; no backend is open."""

    @abstractmethod
    def peek_blobs(self) -> set[Digest]:
        """Return the digests under which something is stored."""

    @abstractmethod
    def peek_uploads(self) -> set[str]:
        """Return the ids of uploads of which anything at all is left."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Return what is stored and is neither a blob, nor an upload's, nor planted."""


class MemorySite(Site):
    """This process: what a backend keeps, and no longer than the backend."""

    def __init__(self) -> None:
        self._takeover_wait_s = 5.0
        self._backend: Memory | None = None

    @property
    def _memory(self) -> Memory:
        if self._backend is None:
            self._backend = Memory(takeover_wait_s=self._takeover_wait_s)
        return self._backend

    def open(self) -> Backend:
        return self._memory

    def shorten_takeover(self, patch: pytest.MonkeyPatch, wait_s: float) -> None:
        patch.setattr(self._memory._locks, "wait_s", wait_s)

    def peek_blob(self, digest: Digest) -> bytes | None:
        blob = self._memory._blobs.get(digest)
        return None if blob is None else bytes(blob.data)

    def plant_blob(self, digest: Digest, data: bytes) -> None:
        from blobd.backends.memory import _Blob

        self._memory._blobs[digest] = _Blob(bytearray(data), 0.0)

    def clear(self) -> None:
        self._backend = None

    def peek_blobs(self) -> set[Digest]:
        return set(self._memory._blobs)

    def peek_uploads(self) -> set[str]:
        return set(self._memory._uploads)

    def leftovers(self) -> list[str]:
        return []


class FilesystemSite(Site):
    """A folder."""

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self.durable = durable
        self.planted: set[Path] = set()

    def open(self) -> Filesystem:
        return Filesystem(self.root, durable=self.durable)

    def shorten_takeover(self, patch: pytest.MonkeyPatch, wait_s: float) -> None:
        patch.setattr(filesystem, "_TAKEOVER_WAIT_S", wait_s)

    def blob_path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded

    def upload_path(self, upload_id: str) -> Path:
        return self.root / "uploads" / upload_id

    def peek_blob(self, digest: Digest) -> bytes | None:
        path = self.blob_path(digest)
        return path.read_bytes() if path.is_file() else None

    def plant_blob(self, digest: Digest, data: bytes) -> None:
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def plant(self, path: str, data: bytes | None = b"?") -> Path:
        """Put a foreign file, or with `data=None` a folder, where blobd works."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            place.mkdir()
        else:
            place.write_bytes(data)
        self.planted.add(place)
        return place

    def clear(self) -> None:
        for path in (self.root / "blobs").glob("*/*/*"):
            path.unlink()
        for path in (self.root / "uploads").glob("*"):
            shutil.rmtree(path)

    def peek_blobs(self) -> set[Digest]:
        return {
            Digest(path.parts[-3], path.name)
            for path in (self.root / "blobs").glob("*/*/*")
            if path not in self.planted
        }

    def peek_uploads(self) -> set[str]:
        return {path.name for path in (self.root / "uploads").iterdir() if path not in self.planted}

    def leftovers(self) -> list[str]:
        left = []
        for path in sorted(self.root.rglob("*")):
            parts = path.relative_to(self.root).parts
            is_blob = parts[0] == "blobs" and len(parts) == 4
            is_of_upload = parts[0] == "uploads" and len(parts) == 3
            is_aside = parts[0] == "quarantine" and len(parts) == 2
            is_marker = parts == ("blobs", "store.id")
            is_whole = is_blob or is_aside or is_marker
            known = is_whole or (is_of_upload and parts[2] in _OF_UPLOADS)
            if not (path.is_dir() or known or path in self.planted):
                left.append("/".join(parts))
        return left


class WrappedSite(Site):
    """Another site, whose backends are opened within a wrapper."""

    def __init__(self, site: Site, wrap: Callable[[Backend], Backend]) -> None:
        self._site = site
        self._wrap = wrap

    def open(self) -> Backend:
        return self._wrap(self._site.open())

    def shorten_takeover(self, patch: pytest.MonkeyPatch, wait_s: float) -> None:
        self._site.shorten_takeover(patch, wait_s)

    def peek_blob(self, digest: Digest) -> bytes | None:
        return self._site.peek_blob(digest)

    def plant_blob(self, digest: Digest, data: bytes) -> None:
        self._site.plant_blob(digest, data)

    def clear(self) -> None:
        self._site.clear()

    def peek_blobs(self) -> set[Digest]:
        return self._site.peek_blobs()

    def peek_uploads(self) -> set[str]:
        return self._site.peek_uploads()

    def leftovers(self) -> list[str]:
        return self._site.leftovers()
