"""Where a pull puts its bytes: a regular file, replaced at the end, or anything else, in order.

A regular file appears whole and verified or not at all: bytes gather in a hidden file beside it,
which then takes its name. A symbolic link stays, and what it points to is replaced. A FIFO, a
device, and a descriptor such as standard output are written to as the bytes come, and never
replaced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from blobd.client.descriptors import own_descriptor
from blobd.client.errors import DigestWrong

if TYPE_CHECKING:
    from blobd.client.hashes import Hash
    from blobd.digest import Digest

_PIECE_BYTES = 1024 * 1024
_NAME_MAX_BYTES = 200
"""What a partial file's name takes of its target's name, so that it is never too long."""


def file_to_replace(to: Path | str | int) -> Path | None:
    """Return the regular file that a pull makes or replaces, with symbolic links followed.

    None: `to` is no such file and is written to in order. Raises IsADirectoryError,
    PermissionError for a file that may not be written, and what else the file system says.
    Blocks.
    """
    if isinstance(to, int) or own_descriptor(to) is not None:
        return None
    name = os.fspath(to)
    place = Path(os.path.realpath(name))
    try:
        facts = Path(name).stat() if name else Path.cwd().stat()
    except FileNotFoundError:
        if name.endswith("/"):
            raise _refused(errno.EISDIR, name) from None
        return place
    if stat.S_ISDIR(facts.st_mode):
        raise _refused(errno.EISDIR, name)
    if not stat.S_ISREG(facts.st_mode):
        return None
    if not os.access(place, os.W_OK):
        raise _refused(errno.EACCES, name)
    return place


class ReplacedFile:
    """A regular file that is being filled beside its place, and the hash of what is in it.

    Every method blocks; use it on one thread. What was taken stays in the partial file when the
    pull fails, and the next pull of the same blob to the same place goes on from there.
    """

    def __init__(self, place: Path, digest: Digest, size_bytes: int, hashing: Hash) -> None:
        self._place = place
        name = os.fsdecode(os.fsencode(place.name)[:_NAME_MAX_BYTES])
        self._partial = place.with_name(f".{name}.{digest.encoded[:16]}.part")
        self._digest = digest
        self._size_bytes = size_bytes
        self._hash = hashing
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Hash what an earlier pull left, and stand at its end.

        The file's mode is that of the one it replaces, or as the umask says. Raises OSError
        that names the target and not the hidden file, also when another pull is filling it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = file = os.fdopen(os.open(self._partial, flags, 0o666), "r+b", buffering=0)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _refused(errno.EEXIST, str(self._partial))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._place.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(self._place.stat().st_mode))
        except BlockingIOError as error:
            error.filename = str(self._partial)
            error.strerror = "another pull is filling this file"
            raise
        except OSError as error:
            if error.filename == str(self._partial) and error.errno != errno.EEXIST:
                error.filename = str(self._place)
            raise
        if os.fstat(file.fileno()).st_size > self._size_bytes:
            file.truncate(0)
        while piece := file.read(_PIECE_BYTES):
            self._hash.update(piece)

    def append(self, piece: bytes) -> None:
        """Take the next bytes. Raises OSError."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._opened.write(rest) :]
        self._hash.update(piece)

    def publish(self) -> None:
        """Put the file in its place. Raises DigestWrong, with the file removed; OSError."""
        computed = self._hash.digest()
        if computed != self._digest:
            self._partial.unlink()
            raise DigestWrong(self._digest, computed)
        os.fdatasync(self._opened.fileno())  # else a power loss may leave the name without bytes
        self._partial.replace(self._place)

    def close(self) -> None:
        """Close and unlock. Idempotent."""
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("append before open")
        return self._file


def _refused(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)
