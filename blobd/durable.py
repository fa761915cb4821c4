"""What makes bytes survive: data sync, atomic replacement, folder sync, and knowing of a reboot."""

from __future__ import annotations

import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = "unknown"

_READ_BYTES = 64 * 1024


def read(path: Path) -> bytes:
    """Return a small file whole, in a few system calls. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, _READ_BYTES):
            pieces.append(piece)
            if len(piece) < _READ_BYTES:
                break
    finally:
        os.close(fd)
    return b"".join(pieces)


def replace(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a small file whole: a reader sees the old bytes or the new, also after kill -9.

    Unless it is `durable`, power loss may leave an older file or none; `boot_id` shows that the
    machine has restarted. Raises OSError; then the old file stands, or the new one where only the
    folder could not be synced.
    """
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        while data:
            data = data[os.write(fd, data) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    if durable:
        sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new small file; its bytes are durable then, its name is not yet. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: renames and removals done so far. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def boot_id() -> str:
    """Return what changes with every start of the machine, and only then; or UNKNOWN_BOOT."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN_BOOT
