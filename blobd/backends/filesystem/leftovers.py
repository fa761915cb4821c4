"""What lies in the folders of a store and is nothing of it, found by listing.

    temporary   a file that its writer renames or removes within moments, and whose writer died
    stray       what blobd has not put there, or not under this name; nothing asks for it

An upload's folder without a record is an upload that expires. Blobs, uploads and what is
quarantined are listed by the backend. Every method blocks; what vanishes meanwhile is passed over.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.backends.base import Orphan
from blobd.backends.filesystem.folder import look
from blobd.digest import SUPPORTED_ALGORITHMS, Digest, MalformedDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_TEMPORARY = re.compile(r"blobs/store\.id\.[0-9a-f]{16}|uploads/\.probe-\w+")
_UPLOAD = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_UNFINISHED_S = 3600.0
"""Their writers need milliseconds."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """One look through the folders of a store."""

    root: Path
    remove: bool
    clock: Callable[[], float]

    def shallow(self) -> Iterator[Orphan]:
        """Yield temporary files, having removed them if wanted."""
        for folder in ("blobs", "uploads"):
            for entry in _entries(self.root / folder):
                name = f"{folder}/{entry.name}"
                if _TEMPORARY.fullmatch(name) is None:
                    continue
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    if self.clock() - facts.st_mtime < _UNFINISHED_S:
                        continue
                    if self.remove:
                        (self.root / name).unlink()
                    yield Orphan("temporary", name, facts.st_size, removed=self.remove)

    def deep(self) -> Iterator[Orphan]:
        """Yield what is stray; it is never removed."""
        yield from self._strays("blobs", self._is_top_of_blobs)
        for algorithm in SUPPORTED_ALGORITHMS:
            yield from self._strays(f"blobs/{algorithm}", _is_shard)
            for shard in _entries(self.root / "blobs" / algorithm):
                if _is_shard(shard):
                    within = f"blobs/{algorithm}/{shard.name}"
                    yield from self._strays(within, _blobs_of(algorithm, shard.name))
        yield from self._strays("uploads", self._is_upload)
        yield from self._strays("quarantine", _is_kept_aside)

    def _strays(self, folder: str, belongs: Callable[[os.DirEntry[str]], bool]) -> Iterator[Orphan]:
        for entry in _entries(self.root / folder):
            with suppress(FileNotFoundError):
                if not belongs(entry):
                    facts = entry.stat(follow_symlinks=False)
                    size_bytes = facts.st_size if stat.S_ISREG(facts.st_mode) else None
                    yield Orphan("stray", f"{folder}/{entry.name}", size_bytes)

    def _is_top_of_blobs(self, entry: os.DirEntry[str]) -> bool:
        if entry.name in SUPPORTED_ALGORITHMS:
            return entry.is_dir(follow_symlinks=False)
        return entry.name == "store.id" or _TEMPORARY.fullmatch(f"blobs/{entry.name}") is not None

    def _is_upload(self, entry: os.DirEntry[str]) -> bool:
        if _UPLOAD.fullmatch(entry.name) is None:
            return _TEMPORARY.fullmatch(f"uploads/{entry.name}") is not None
        path = self.root / "uploads" / entry.name
        try:
            look(path)
        except FileNotFoundError:
            return not path.exists()  # it may have ended meanwhile
        except NotADirectoryError:
            return False
        return True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from entries


def _is_shard(entry: os.DirEntry[str]) -> bool:
    return _SHARD.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)


def _blobs_of(algorithm: str, shard: str) -> Callable[[os.DirEntry[str]], bool]:
    def is_blob(entry: os.DirEntry[str]) -> bool:
        return (
            entry.name.startswith(shard)
            and _is_digest(f"{algorithm}:{entry.name}")
            and entry.is_file(follow_symlinks=False)
        )

    return is_blob


def _is_kept_aside(entry: os.DirEntry[str]) -> bool:
    return _is_digest(entry.name.replace("-", ":", 1))


def _is_digest(text: str) -> bool:
    try:
        return Digest.parse(text).supported
    except MalformedDigest:
        return False
