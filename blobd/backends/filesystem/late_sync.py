"""Syncs small uploads some time after they were saved: bytes, record, and the folders around them.

A small push takes milliseconds, and its commit syncs what is left of it. So its records
are saved without a sync, each with the moment by which it is due, and its writer adds it here.
An upload that another process committed or removed by then has no bytes left and costs one look.

Bytes are synced while the upload has no writer, and one that arrives waits for that. For a sync
that fails is reported once, and the pages that it could not write count as clean from then on: a
writer that opened the file between that report and the upload's removal would publish what is not
on the disk. An upload that has a writer is looked at again later; the records that this one saves
from the due moment on are synced before they are saved.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from blobd.backends.filesystem.folder import RECORD, bytes_in, look, remove_folder
from blobd.backends.filesystem.takeover import nobody_writes
from blobd.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LOOK_INTERVAL_S = 0.25
"""How long uploads that are due wait for others, to be synced with them."""
_AGAIN_NS = 1_000_000_000

_log = logging.getLogger("blobd.filesystem")


class LateSync:
    """One thread that syncs the uploads of a process which are due."""

    def __init__(self) -> None:
        self._due_ns: dict[Path, int] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._idle = False
        self._thread: threading.Thread | None = None

    def add(self, folder: Path, due_ns: int) -> None:
        """Sync an upload when `time.monotonic_ns` is `due_ns`, or soon after. From any thread."""
        with self._changed:
            self._due_ns[folder] = due_ns
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="blobd-late-sync", daemon=True
                )
                self._thread.start()
            elif self._idle:  # else it looks by itself: a push is not to pay for waking it
                self._idle = False
                self._changed.notify()

    def discard(self, folder: Path) -> None:
        """Leave an upload alone that was committed or removed. From any thread."""
        with self._changed:
            self._due_ns.pop(folder, None)

    def close(self) -> None:
        """Sync what is not due yet, too, and end the thread. Blocks."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while folders := self._next():
            busy = _sync(folders)
            with self._changed:
                if not self._closed:
                    again_ns = time.monotonic_ns() + _AGAIN_NS
                    for folder in busy:
                        self._due_ns.setdefault(folder, again_ns)

    def _next(self) -> list[Path]:
        """Wait for uploads that are due and return them; all that are left when closed."""
        with self._changed:
            while True:
                self._idle = not self._due_ns
                self._changed.wait_for(lambda: self._due_ns or self._closed)
                self._changed.wait_for(lambda: self._closed, _LOOK_INTERVAL_S)
                now_ns = time.monotonic_ns()
                folders = [
                    folder
                    for folder, due_ns in self._due_ns.items()
                    if self._closed or due_ns <= now_ns
                ]
                for folder in folders:
                    del self._due_ns[folder]
                if folders or self._closed:
                    return folders


def _sync(folders: Iterable[Path]) -> list[Path]:
    """Sync uploads; return those that have a writer. What fails is logged."""
    busy: list[Path] = []
    parents: set[Path] = set()
    for folder in folders:
        if bytes_in(folder)[0] is None:  # committed or removed by another process
            continue
        try:
            with nobody_writes(folder) as settled:
                if not settled:
                    busy.append(folder)
                    continue
                if not _sync_bytes(folder):
                    continue
            _sync_file(folder / RECORD)
            sync_folder(folder)
            parents.add(folder.parent)
        except FileNotFoundError:  # committed or removed meanwhile
            continue
        except OSError as error:
            _warn(folder, error)
    for parent in parents:
        try:
            sync_folder(parent)
        except OSError as error:
            _warn(parent, error)
    return busy


def _sync_bytes(folder: Path) -> bool:
    """Sync the bytes of an upload without a writer; return whether its record waits for that.

    Removes the upload where it fails. Raises OSError.
    """
    found = look(folder)
    if found.bytes_name is None or found.saver.sync_due_ns == 0:
        return False
    fd = os.open(folder / found.bytes_name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    except OSError as error:
        remove_folder(folder)
        _log.error(
            "an upload was given up, because its bytes could not be synced: %s",
            error.strerror,
            extra={"upload_id": folder.name},
        )
        return False
    finally:
        os.close(fd)
    return True


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _warn(folder: Path, error: OSError) -> None:
    """Report what is harmless until the machine's power fails."""
    _log.warning("%s may not survive a power failure: %s", folder, error.strerror)
