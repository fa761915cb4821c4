"""The filesystem's writer: a folder per upload with its bytes and its record.

    uploads/<id>/bytes         appended to; renamed to the blob's path by commit
    uploads/<id>/provisional   what `bytes` is called while a provisional writer appends
    uploads/<id>/record        JSON, replaced whole: offset, memo, who saved it, the commit begun
    uploads/<id>/claim         see `takeover.py`

The record names the digest before the rename, so the pair tells everything after a crash: with
the bytes still in the folder the upload is open, without them the record is a receipt.

The file is written at its end only, by one writer, each write after the one before it, and the
kernel lets it grow in that order. So `bytes` has no holes whatever instant its writer is killed at,
also in the middle of a write: it ends where the bytes appended end (B10). After a restart of the
machine that is not so, and it is not wanted of `provisional`: there the record's offset is the end.
"""

from __future__ import annotations

import base64
import errno
import json
import logging
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blobd.backends.base import Buffer, Committed, Record
from blobd.backends.durable import UNKNOWN_BOOT, read, sync_folder
from blobd.backends.durable import replace as replace_file
from blobd.backends.takeover import CLAIM, Guard, Ownership, Superseded, Watch, nobody_writes
from blobd.backends.threads import Threads, outlast
from blobd.digest import Digest
from blobd.errors import (
    BackendUnavailable,
    StorageFull,
    StorageLost,
    UploadOvertaken,
    UploadUnknown,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from blobd.backends.base import Admits
    from blobd.digest import Span

BYTES = "bytes"
PROVISIONAL = "provisional"
RECORD = "record"
_NEW_RECORD = "record.new"
_SYNC_EVERY_BYTES = 32 * 1024 * 1024
"""A commit waits for at most twice as much: the sync under way and the last one."""
_READ_BYTES = 1024 * 1024
_MAX_PIECES = 1024  # IOV_MAX
_LAYOUT = 2
"""Of the folder. In the first, `bytes` was the name of what a crash undoes, too."""

_log = logging.getLogger("blobd.filesystem")


class FileStaging:
    """A Staging (see `base.py`) whose lock is had and whose bytes end at the record's offset."""

    def __init__(
        self,
        *,
        folder: Path,
        admits: Admits | None,
        ownership: Ownership,
        watch: Watch,
        threads: Threads,
        durable: bool,
        boot: str,
        blob_path: Callable[[Digest], Path],
        quarantine_path: Callable[[Digest], Path],
        provisional: bool,
    ) -> None:
        """Call on a thread. Raises FileNotFoundError when the folder holds no open upload,
        Superseded when somebody who asked later has written to it already, what `admits` raises.
        """
        found = look(folder)
        record, saver = found.record, found.saver
        if record.committed is not None:
            raise FileNotFoundError(str(folder))
        if saver.boot == boot and saver.asked_ns > ownership.asked_ns:
            raise Superseded
        if admits is not None:
            admits(record)
        tail_bytes = found.tail_bytes(boot)
        self._kept_bytes = record.offset + tail_bytes
        """What stays when this writer lets go: up to the last record, or an untouched tail."""
        self._provisional = provisional
        self._name = found.bytes_name or self._wanted_name
        self._fd = _open_bytes(folder / self._name, self._kept_bytes)
        self._folder = folder
        self._ownership = ownership
        self._watch = watch
        self._threads = threads
        self._durable = durable
        self._blob_path = blob_path
        self._quarantine_path = quarantine_path
        self._saver = Saver(boot, ownership.asked_ns)
        self._unsynced_bytes = self._kept_bytes
        self._syncing: asyncio.Future[None] | None = None
        self._committed: Committed | None = None
        self._removed = False
        self.record = replace(record, tail_bytes=tail_bytes)
        self.offset = self._kept_bytes
        self.trusted = saver.boot == boot

    @property
    def _wanted_name(self) -> str:
        return PROVISIONAL if self._provisional else BYTES

    async def append(self, pieces: Sequence[Buffer]) -> None:
        await self._threads.run(self._write, pieces)
        if self._durable and self._unsynced_bytes >= _SYNC_EVERY_BYTES:
            await self._finish_sync()
            self._unsynced_bytes = 0
            self._syncing = self._threads.start(os.fdatasync, self._fd)

    def _write(self, pieces: Sequence[Buffer]) -> None:
        self._check()
        try:
            self._take_name()
            for first in range(0, len(pieces), _MAX_PIECES):
                self._write_all(list(pieces[first : first + _MAX_PIECES]))
        except OSError as error:
            os.ftruncate(self._fd, self._kept_bytes)
            os.lseek(self._fd, self._kept_bytes, os.SEEK_SET)
            self.offset = self._kept_bytes
            raise translated(error) from error

    def _take_name(self) -> None:
        """Say by the file's name, before anything is written, what a crash makes of it."""
        if self._name != self._wanted_name:
            (self._folder / self._name).rename(self._folder / self._wanted_name)
            self._name = self._wanted_name

    def _write_all(self, pieces: list[Buffer]) -> None:
        while pieces:
            written = os.writev(self._fd, pieces)
            self.offset += written
            self._unsynced_bytes += written
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = memoryview(pieces[0])[written:]

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:  # noqa: ARG002
        await self._threads.run(self._checkpoint, memo)

    def _checkpoint(self, memo: bytes) -> None:
        self._check()
        record = Record(self.record.upload_id, self.offset, memo, time.time())
        try:
            write_record(self._folder, record, self._saver)
        except OSError as error:
            raise translated(error) from error
        self.record = record
        self._kept_bytes = record.offset

    async def read(self, span: Span) -> AsyncIterator[Buffer]:
        position = span.start
        while position < span.stop:
            size_bytes = min(_READ_BYTES, span.stop - position)
            try:
                data = await self._threads.run(os.pread, self._fd, size_bytes, position)
            except OSError as error:
                raise translated(error) from error
            if not data:
                raise BackendUnavailable(f"staged bytes end at {position}, not at {span.stop}")
            position += len(data)
            yield data

    async def commit(self, digest: Digest) -> Committed:
        await self._finish_sync()
        return await self._threads.run(self._commit, digest)

    def _commit(self, digest: Digest) -> Committed:
        if self._committed is not None:
            return self._committed
        self._check()
        if self._durable and self._unsynced_bytes:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._remove()
                raise StorageLost(f"staged bytes could not be synced: {error.strerror}") from error
        target = self._blob_path(digest)
        last = self.record
        with self._outgoing(target) as replaced:
            try:
                write_record(self._folder, last, self._saver, commits=Commits(digest, self.offset))
                (self._folder / self._name).rename(target)
            except OSError as error:
                raise translated(error) from error
        self._kept_bytes = self.offset  # the file is a blob's now, and is never cut again
        self.record = Record(last.upload_id, self.offset, last.memo, time.time(), digest)
        try:
            os.fchmod(self._fd, os.fstat(self._fd).st_mode & 0o444)
            if self._durable:
                sync_folder(target.parent)
        except OSError as error:
            # The blob is there, but may not be after power loss: no receipt may vouch for it.
            self._remove()
            raise StorageLost(f"a blob's name could not be synced: {error.strerror}") from error
        with suppress(OSError):  # what stays is dropped by the next commit, delete or `fsck`
            self._quarantine_path(digest).unlink()
        self._committed = Committed(digest, self.offset, replaced)
        return self._committed

    @contextmanager
    def _outgoing(self, target: Path) -> Iterator[bool]:
        """Keep the blob that a rename replaces until later; yield whether there is one.

        Freeing its blocks takes time that grows with its size, and no commit should wait for it.
        """
        try:
            fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            self._threads.later(os.close, fd)

    async def abort(self) -> None:
        with suppress(StorageLost):
            await self._finish_sync()
        await self._threads.run(self._abort)

    def _abort(self) -> None:
        if self._committed is None and not self._removed:
            self._check()
            self._remove()

    def _remove(self) -> None:
        try:
            remove_folder(self._folder)
        except OSError as error:
            raise translated(error) from error
        self._removed = True

    def guard(self) -> Guard:
        return Guard(self._watch, self._ownership, self._overtaken)

    async def aclose(self) -> None:
        try:
            with suppress(StorageLost):
                await self._finish_sync()
        finally:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                await self._let_go(fd)

    async def _let_go(self, fd: int) -> None:
        try:
            if not self._removed and self.offset > self._kept_bytes:
                await self._threads.run(os.ftruncate, fd, self._kept_bytes)
        except OSError as error:
            # Left as it is: in order, and of a rightful writer; so what a crash would have left.
            _log.warning("staged bytes could not be cut: %s", error.strerror)
        finally:
            if self._removed:
                self._threads.later(os.close, fd)  # this frees the file's blocks
            else:
                os.close(fd)
            self._ownership.release()

    async def _finish_sync(self) -> None:
        syncing = self._syncing
        if syncing is None:
            return
        try:
            await outlast(syncing)
            self._syncing = None
        except OSError as error:
            # A failed sync may be reported once and then forgotten by the kernel: the pages count
            # as clean although they are not on disk. Only giving the staging up is honest.
            await self._threads.run(self._remove)
            raise StorageLost(f"staged bytes could not be synced: {error.strerror}") from error

    def _check(self) -> None:
        if self._committed is not None or self._removed:
            raise UploadUnknown(self.record.upload_id)
        if self._fd < 0:
            raise self._overtaken()
        try:
            self._ownership.check()
        except Superseded as error:
            raise self._overtaken() from error

    def _overtaken(self) -> UploadOvertaken:
        return UploadOvertaken(self.record.upload_id, self.record.offset)


def _open_bytes(path: Path, offset: int) -> int:
    """Open an upload's bytes, cut to the offset, to go on from there. Raises OSError."""
    if offset == 0:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if os.fstat(fd).st_size < offset:
            raise FileNotFoundError(f"{path} has lost bytes")
        os.ftruncate(fd, offset)
        os.lseek(fd, offset, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


@dataclass(frozen=True, slots=True)
class Commits:
    """A commit that the rename of the bytes will complete."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Saver:
    """Who saved a record: in which boot, and when on its clock they had asked for the upload."""

    boot: str
    asked_ns: int
    layout: int = _LAYOUT


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in an upload's folder."""

    record: Record
    saver: Saver
    bytes_name: str | None
    bytes_size: int

    def tail_bytes(self, boot: str) -> int:
        """Return how many bytes lie beyond the record and count all the same (B10)."""
        counts = (
            self.record.committed is None
            and self.bytes_name == BYTES
            and self.saver.boot == boot != UNKNOWN_BOOT
            and self.saver.layout == _LAYOUT
        )
        return max(self.bytes_size - self.record.offset, 0) if counts else 0


def write_record(
    folder: Path, record: Record, saver: Saver, *, commits: Commits | None = None
) -> None:
    """Save a record. Raises OSError; then the last one stands."""
    document = {
        "layout": saver.layout,
        "offset": record.offset,
        "boot": saver.boot,
        "asked_ns": saver.asked_ns,
        "touched_at": record.touched_at,
        "memo": base64.b64encode(record.memo).decode(),
    }
    if commits is not None:
        document["commits"] = {"digest": str(commits.digest), "size": commits.size_bytes}
        document["touched_at"] = time.time()
    replace_file(folder / RECORD, json.dumps(document).encode())


def read_record(folder: Path) -> tuple[Record, Saver]:
    """Return the record or receipt of an upload's folder, and who saved it.

    Raises FileNotFoundError when there is no such folder, or what it holds is not understood.
    """
    found = look(folder)
    return found.record, found.saver


def read_settled(folder: Path, boot: str) -> Record:
    """Return the record or receipt, with the tail of a killed writer if nobody writes now.

    Raises FileNotFoundError as `read_record` does.
    """
    found = look(folder)
    if found.tail_bytes(boot) == 0:
        return found.record
    with nobody_writes(folder) as settled:
        if not settled:
            return found.record
        found = look(folder)
        return replace(found.record, tail_bytes=found.tail_bytes(boot))


def look(folder: Path) -> Found:
    """Return what lies in an upload's folder. Raises FileNotFoundError as `read_record` does."""
    try:
        text = read(folder / RECORD)
    except FileNotFoundError:
        return Found(_unrecorded(folder), Saver("", 0), None, 0)
    except OSError as error:
        raise FileNotFoundError(f"{folder} holds no record of an upload") from error
    name, facts = _bytes_in(folder)
    try:
        document = json.loads(text)
        offset, committed = int(document["offset"]), None
        commits = document.get("commits")
        if commits is not None and facts is None:
            offset, committed = int(commits["size"]), Digest.parse(commits["digest"])
        written_at = facts.st_mtime if facts is not None else 0.0
        record = Record(
            upload_id=folder.name,
            offset=offset,
            memo=base64.b64decode(document["memo"]),
            touched_at=max(float(document["touched_at"]), written_at),
            committed=committed,
        )
        saver = Saver(
            boot=str(document["boot"]),
            asked_ns=int(document["asked_ns"]),
            layout=int(document.get("layout", 1)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise FileNotFoundError(f"{folder} holds no record of an upload") from error
    return Found(record, saver, name, facts.st_size if facts is not None else 0)


def _bytes_in(folder: Path) -> tuple[str | None, os.stat_result | None]:
    for name in (BYTES, PROVISIONAL):
        with suppress(OSError):
            return name, (folder / name).stat()
    return None, None


def _unrecorded(folder: Path) -> Record:
    """Return what a crash leaves before the first record, or in the middle of a removal.

    It stands for removal: at offset 0, with a memo that nobody has written.
    """
    if set(folder.iterdir()) - set(_ours(folder)):
        raise FileNotFoundError(f"{folder} is no upload's")
    return Record(folder.name, 0, b"", folder.stat().st_mtime)


def remove_folder(folder: Path) -> None:
    """Remove an upload's folder; the record first, so that no half of it looks like a receipt.

    What blobd did not put there stays, and the folder with it. May run twice at once. Raises
    OSError.
    """
    with suppress(FileNotFoundError):
        for path in _ours(folder):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _ours(folder: Path) -> list[Path]:
    return [
        *(folder / name for name in (RECORD, BYTES, PROVISIONAL, _NEW_RECORD, CLAIM)),
        *folder.glob(f"{CLAIM}.*"),
    ]


def translated(error: OSError) -> Exception:
    """Return the domain's word for an operating system's error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull()
    return BackendUnavailable(f"the file system failed: {error.strerror}")
