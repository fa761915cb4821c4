"""Layers of this machine's own files.

Every layer also holds a file of random bytes, so that no two runs make the same one: container
tools remember layers they have seen, and would not send them again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import secrets
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer's file; `diff_id` is the digest of its tar, uncompressed."""

    digest: str
    size_bytes: int
    diff_id: str


def pack(files: Iterable[tuple[Path, str]], folder: Path, *, compressed: bool) -> Packed:
    """Write a tar of files, each under its name there, to a file named by its hash.

    Takes bounded memory, whatever the size.
    """
    part = folder / f".part-{secrets.token_hex(4)}"
    with part.open("wb") as file:
        stored = plain = _Hashing(file)
        if compressed:
            packed = gzip.GzipFile("", "wb", compresslevel=1, fileobj=cast("Any", stored), mtime=0)
            with packed:
                plain = _Hashing(packed)
                _write_tar(files, plain)
        else:
            _write_tar(files, plain)
    part.rename(folder / stored.digest.removeprefix("sha256:"))
    return Packed(stored.digest, stored.size_bytes, plain.digest)


def files_below(root: Path, *, at_most_bytes: int, prefix: str = "") -> Iterator[tuple[Path, str]]:
    """Find files, folders and links below a folder, with their names in an image, in order.

    What cannot be read, and what is no file, folder or link, is left out. It ends before the
    files together are larger than `at_most_bytes`.
    """
    left_bytes = at_most_bytes
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted((*folders, *names)):
            path = Path(folder, name)
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode):
                if facts.st_size > left_bytes or not os.access(path, os.R_OK):
                    continue
                left_bytes -= facts.st_size
            elif not (stat.S_ISDIR(facts.st_mode) or stat.S_ISLNK(facts.st_mode)):
                continue
            yield path, f"{prefix}{path}".lstrip("/")
        if left_bytes < at_most_bytes // 100:
            return


def _write_tar(files: Iterable[tuple[Path, str]], to: _Hashing) -> None:
    with tarfile.open(fileobj=cast("Any", to), mode="w|", bufsize=1 << 20) as tar:
        mark = tarfile.TarInfo("etc/blobd-made-this")
        mark.size = 32
        tar.addfile(mark, io.BytesIO(secrets.token_bytes(mark.size)))
        for path, name in files:
            tar.add(path, name, recursive=False, filter=_ownerless)


def _ownerless(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(entry.mtime)
    return entry


class _Hashing:
    """Writes through to a file, and knows the digest and the size of what was written."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)
        return len(data)
