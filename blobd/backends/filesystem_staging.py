"""The filesystem's writer: a folder per upload with its bytes and its record.

    uploads/<id>/bytes    appended to; renamed to the blob's path by commit
    uploads/<id>/record   JSON, replaced whole: offset, boot id, memo, and the digest of a commit

The record names the digest before the rename, so the pair tells everything after a crash: with
`bytes` still in the folder the upload is open, without it the record is a receipt.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from blobd.backends.base import Buffer, Committed, Record
from blobd.backends.durable import boot_id, replace, sync_folder
from blobd.backends.takeover import Guard, Ownership, Superseded, Watch
from blobd.backends.threads import Threads, outlast
from blobd.digest import Digest
from blobd.errors import BackendUnavailable, StorageFull, StorageLost, UploadOvertaken

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from blobd.digest import Span

BYTES = "bytes"
RECORD = "record"
_SYNC_EVERY_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_MAX_PIECES = 1024  # IOV_MAX


class FileStaging:
    """A Staging (see `base.py`) whose lock is had and whose bytes end at the record's offset."""

    def __init__(
        self,
        *,
        folder: Path,
        ownership: Ownership,
        watch: Watch,
        threads: Threads,
        durable: bool,
        blob_path: Callable[[Digest], Path],
    ) -> None:
        """Call on a thread. Raises FileNotFoundError when the folder holds no open upload."""
        record, boot = read_record(folder)
        if record.committed is not None:
            raise FileNotFoundError(str(folder))
        fd = os.open(folder / BYTES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < record.offset:
                raise FileNotFoundError(f"{folder} has lost bytes")
            os.ftruncate(fd, record.offset)
            os.lseek(fd, record.offset, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        self._folder = folder
        self._ownership = ownership
        self._watch = watch
        self._threads = threads
        self._durable = durable
        self._blob_path = blob_path
        self._fd = fd
        self._boot = boot_id()
        self._unsynced_bytes = record.offset
        self._syncing: asyncio.Future[None] | None = None
        self._committed: Committed | None = None
        self._ended = False
        self.record = record
        self.offset = record.offset
        self.trusted = boot == self._boot or record.offset == 0

    async def append(self, pieces: Sequence[Buffer]) -> None:
        await self._threads.run(self._write, pieces)
        if self._durable and self._unsynced_bytes >= _SYNC_EVERY_BYTES:
            await self._finish_sync()
            self._unsynced_bytes = 0
            self._syncing = self._threads.start(os.fdatasync, self._fd)

    def _write(self, pieces: Sequence[Buffer]) -> None:
        self._check()
        try:
            for first in range(0, len(pieces), _MAX_PIECES):
                self._write_all(list(pieces[first : first + _MAX_PIECES]))
        except OSError as error:
            os.ftruncate(self._fd, self.record.offset)
            os.lseek(self._fd, self.record.offset, os.SEEK_SET)
            self.offset = self.record.offset
            raise translated(error) from error

    def _write_all(self, pieces: list[Buffer]) -> None:
        while pieces:
            written = os.writev(self._fd, pieces)
            self.offset += written
            self._unsynced_bytes += written
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = memoryview(pieces[0])[written:]

    async def checkpoint(self, memo: bytes) -> None:
        await self._threads.run(self._checkpoint, memo)

    def _checkpoint(self, memo: bytes) -> None:
        self._check()
        self._save(Record(self.record.upload_id, self.offset, memo, time.time()))

    def _save(self, record: Record) -> None:
        try:
            write_record(self._folder, record, self._boot)
        except OSError as error:
            raise translated(error) from error
        self.record = record

    async def read(self, span: Span) -> AsyncIterator[Buffer]:
        position = span.start
        while position < span.stop:
            size_bytes = min(_READ_BYTES, span.stop - position)
            data = await self._threads.run(os.pread, self._fd, size_bytes, position)
            if not data:
                raise BackendUnavailable(f"staged bytes end at {position}, not at {span.stop}")
            position += len(data)
            yield data

    async def commit(self, digest: Digest) -> Committed:
        if self._committed is None:
            await self._finish_sync()
            await self._threads.run(self._commit, digest)
        if self._committed is None:
            raise UploadOvertaken(self.record.upload_id, self.record.offset)
        return self._committed

    def _commit(self, digest: Digest) -> None:
        self._check()
        if self._durable and self._unsynced_bytes:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._remove()
                raise StorageLost(f"staged bytes could not be synced: {error.strerror}") from error
        target = self._blob_path(digest)
        try:
            os.fchmod(self._fd, 0o444)
            last = self.record
            self._save(Record(last.upload_id, self.offset, last.memo, time.time(), digest))
            replaced = target.exists()
            (self._folder / BYTES).rename(target)
        except OSError as error:
            raise translated(error) from error
        self._committed = Committed(digest, self.offset, replaced)
        if self._durable:
            try:
                sync_folder(target.parent)
            except OSError as error:
                raise StorageLost(f"a blob's name could not be synced: {error.strerror}") from error

    async def abort(self) -> None:
        if self._committed is None:
            with suppress(StorageLost):
                await self._finish_sync()
            await self._threads.run(self._remove)

    def _remove(self) -> None:
        if not self._ended:
            self._ended = True
            remove_folder(self._folder)

    def guard(self) -> Guard:
        return Guard(self._watch, self._ownership, self._overtaken)

    async def aclose(self) -> None:
        try:
            with suppress(StorageLost):
                await self._finish_sync()
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
                self._ownership.release()

    async def _finish_sync(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is None:
            return
        try:
            await outlast(syncing)
        except OSError as error:
            # A failed sync may be reported once and then forgotten by the kernel: the pages count
            # as clean although they are not on disk. Only giving the staging up is honest.
            await self._threads.run(self._remove)
            raise StorageLost(f"staged bytes could not be synced: {error.strerror}") from error

    def _check(self) -> None:
        if self._ended:
            raise self._overtaken()
        try:
            self._ownership.check()
        except Superseded as error:
            raise self._overtaken() from error

    def _overtaken(self) -> UploadOvertaken:
        return UploadOvertaken(self.record.upload_id, self.record.offset)


def write_record(folder: Path, record: Record, boot: str) -> None:
    """Save a record. Raises OSError; then the last one stands."""
    document = {
        "offset": record.offset,
        "boot": boot,
        "touched_at": record.touched_at,
        "memo": base64.b64encode(record.memo).decode(),
        "committed": None if record.committed is None else str(record.committed),
    }
    replace(folder / RECORD, json.dumps(document).encode())


def read_record(folder: Path) -> tuple[Record, str]:
    """Return the record or receipt of an upload's folder, and the boot it was saved in.

    A folder without a record is an upload that never got one: offset 0, empty memo. Raises
    FileNotFoundError when there is no such folder, or what it holds is not understood.
    """
    try:
        document = json.loads((folder / RECORD).read_bytes())
        boot = str(document["boot"])
        record = Record(
            upload_id=folder.name,
            offset=int(document["offset"]),
            memo=base64.b64decode(document["memo"]),
            touched_at=float(document["touched_at"]),
        )
        intended = document["committed"]
        digest = None if intended is None else Digest.parse(intended)
    except FileNotFoundError:
        return Record(folder.name, 0, b"", folder.stat().st_mtime), ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileNotFoundError(f"{folder} holds no record of an upload") from error
    try:
        written_at = (folder / BYTES).stat().st_mtime
    except FileNotFoundError:
        committed, written_at = digest, 0.0
    else:
        committed = None
    touched_at = max(record.touched_at, written_at)
    return Record(record.upload_id, record.offset, record.memo, touched_at, committed), boot


def remove_folder(folder: Path) -> None:
    """Remove an upload's folder; the record first, so that no half of it looks open.

    What blobd did not put there stays, and the folder with it.
    """
    for path in (folder / RECORD, folder / BYTES, *folder.glob("claim*"), folder / "record.new"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def translated(error: OSError) -> Exception:
    """Return the domain's word for an operating system's error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull()
    return BackendUnavailable(f"the file system failed: {error.strerror}")
