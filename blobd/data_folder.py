"""What other users of the machine may see of the data folder: nothing, or their group may read.

The folder holds private blobs, hashes of tokens, and the audit. Its folders are 0700 and its files
0600 (0400 once they are blobs), whatever the umask; with `store.group_access` the group may read:
0750, 0640 and 0440; the secret of the signing keys stays 0600. New files get there by the umask of
the process, which SQLite and its journals obey too; what is there is repaired at each start.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.config import Config

_FOLDERS = ("blobs", "uploads", "quarantine")
_KEY_FILE = "signing.key"

_log = logging.getLogger("blobd")


@dataclass(frozen=True, slots=True)
class Exposed:
    """A file or folder with other permissions than it should have."""

    path: Path
    mode: int
    wanted_mode: int

    def __str__(self) -> str:
        return f"{self.path} has mode {self.mode:04o} instead of {self.wanted_mode:04o}"


def set_umask(config: Config) -> None:
    """Make this process create files that are as private as the configuration says."""
    os.umask(0o027 if config.store.group_access else 0o077)


def protect(config: Config, catalog: Path | None) -> None:
    """Repair the permissions of what is there, and log one line if there was something to repair.

    `catalog` is the catalog's file, if it is one that lasts. What cannot be changed is logged as a
    warning. Blocks; raises nothing. May run beside other daemons on the same folder.
    """
    repair = _Repair(group_access=config.store.group_access)
    for path in _ours(config, catalog):
        repair.tree(path)
    root = Path(config.store.path)
    if repair.changed:
        _log.warning(
            "permissions repaired: others on this machine could read the data folder",
            extra={"path": str(root), "files_and_folders": repair.changed},
        )
    left = next(iter(exposed(config, catalog)), None)
    if repair.failed is not None or left is not None:
        reason = "the file system keeps no modes" if repair.failed is None else repair.failed
        _log.warning(
            "others on this machine can read the data folder: make blobd's user its owner, "
            "or put it on a file system and a mount that keep modes",
            extra={"path": str(root), "reason": reason, "first": str(left or "")},
        )


def exposed(config: Config, catalog: Path | None) -> Iterator[Exposed]:
    """Yield what is open to others, of the data folder and what lies directly in it."""
    for path in _ours(config, catalog):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        wanted_mode = _wanted_mode(path.name, mode, group_access=config.store.group_access)
        if mode & ~wanted_mode:
            yield Exposed(path, mode, wanted_mode)


def key_file(catalog: Path) -> Path:
    """Return the file of the secret that signing keys in a catalog file are encrypted with."""
    return catalog.with_name(_KEY_FILE)


def _ours(config: Config, catalog: Path | None) -> Iterator[Path]:
    """Yield what blobd may change: the data folder first, so that it closes at once.

    Nothing that others put there, and no folder that is shared on purpose, such as /tmp.
    """
    root = Path(config.store.path)
    is_store = config.store.backend == "filesystem"
    if is_store or (catalog is not None and catalog.parent == root):
        if root.is_dir() and not root.stat().st_mode & stat.S_ISVTX:
            yield root
        if is_store:
            yield from (root / name for name in _FOLDERS)
    if catalog is not None:
        names = ("", "-wal", "-shm", "-journal", ".lock")
        yield from (catalog.with_name(catalog.name + suffix) for suffix in names)
        yield key_file(catalog)


class _Repair:
    """Gives files and folders their modes.

    A folder gets its own after all that is in it, so one that has it needs no second look; the
    data folder itself is the exception.
    """

    def __init__(self, *, group_access: bool) -> None:
        self._group_access = group_access
        self.changed = 0
        self.failed: str | None = None

    def tree(self, path: Path) -> None:
        """Repair one of the paths that `_ours` yields; a link is followed."""
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode) and path.name in _FOLDERS:
                self._folder(str(path), mode)
            else:
                self._give(str(path), mode)
        except FileNotFoundError:
            return
        except OSError as error:
            self.failed = error.strerror

    def _folder(self, path: str, mode: int) -> None:
        permissions = stat.S_IMODE(mode)
        if permissions == _wanted_mode("", permissions, group_access=self._group_access):
            return
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    inner = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(inner):
                        self._folder(entry.path, inner)
                    elif stat.S_ISREG(inner):
                        self._give(entry.path, inner)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self.failed = error.strerror
        self._give(path, mode)

    def _give(self, path: str, mode: int) -> None:
        permissions = stat.S_IMODE(mode)
        name = path.rpartition("/")[2]
        wanted_mode = _wanted_mode(name, permissions, group_access=self._group_access)
        if permissions != wanted_mode:
            os.chmod(path, wanted_mode)  # noqa: PTH101 - called for every file
            self.changed += 1


def _wanted_mode(name: str, mode: int, *, group_access: bool) -> int:
    """Return what the owner may, for the owner; without writing, for the group if it has access."""
    owner = mode & 0o700
    group = (owner >> 3) & 0o050 if group_access and name != _KEY_FILE else 0
    return mode & 0o7000 | owner | group
