"""Whether anybody reads files: told by the kernel (inotify(7)), whoever the reader is."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_IN_ACCESS = 0x1
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class ReadWatch:
    """Notes every file in some folders that is read while the context is open."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._names: dict[int, str] = {}
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        for folder in self._folders:
            watch = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _IN_ACCESS)
            self._names[_checked(watch)] = folder.name
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def seen(self) -> set[str]:
        """Return what was read since the last call, as `folder/file`."""
        found = set()
        while events := self._events():
            start = 0
            while start < len(events):
                watch, _, _, length = _EVENT.unpack_from(events, start)
                start += _EVENT.size
                name = events[start : start + length].rstrip(b"\0").decode()
                start += length
                found.add(f"{self._names.get(watch, '?')}/{name}")
        return found

    def _events(self) -> bytes:
        try:
            return os.read(self._fd, 1 << 20)
        except BlockingIOError:
            return b""


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
