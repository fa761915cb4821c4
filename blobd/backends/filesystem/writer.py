"""The filesystem's writer. What its folder holds, and what a crash leaves: `filesystem/folder.py`.

The file is written at its end only, by one writer, each write after the one before it, and the
kernel lets it grow in that order. So `bytes` has no holes whatever instant its writer is killed at,
also in the middle of a write: it ends where the bytes appended end (B10). After a restart of the
machine that is not so, and it is not wanted of `provisional`: there the record's offset is the end.

With durability, bytes are synced on a thread while more are written. A record is saved behind such
a sync and is durable itself, so that the upload goes on there after power loss. Small pushes are
spared that: what an append leaves of an upload below `_SYNCED_FROM_BYTES` is not synced until
`_SYNCED_AFTER_NS` after its first record with bytes, and then by `filesystem/late_sync.py`. An
upload that power loss takes before that begins anew.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from blobd.backends.base import Buffer, Committed, Record
from blobd.backends.filesystem.folder import (
    BYTES,
    PROVISIONAL,
    Commits,
    Saver,
    look,
    remove_folder,
    translated,
    write_record,
)
from blobd.backends.filesystem.takeover import (
    Preempted,
    PreemptionScope,
    PreemptionWatcher,
    UploadLock,
)
from blobd.durable import sync_folder
from blobd.errors import (
    BackendUnavailable,
    StorageFull,
    StorageLost,
    UploadOvertaken,
    UploadUnknown,
)
from blobd.threads import Threads, outlast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from blobd.backends.base import Admits
    from blobd.backends.filesystem.late_sync import LateSync
    from blobd.digest import Digest, Span

_SYNC_EVERY_BYTES = 32 * 1024 * 1024
"""A commit waits for at most twice as much: the sync under way and the last one."""
_SYNCED_FROM_BYTES = 8 * 1024 * 1024
_SYNCED_AFTER_NS = 1_000_000_000
"""How long a smaller upload may wait for its commit, from its first record that counts bytes."""
_READ_BYTES = 1024 * 1024
_MAX_PIECES = 1024  # IOV_MAX
_NOT_SAVED = (StorageLost, StorageFull, BackendUnavailable, UploadOvertaken, UploadUnknown)
"""How a sync under way may end, and the record behind it."""

_log = logging.getLogger("blobd.filesystem")


class FileStaging:
    """A Staging (see `base.py`) whose lock is had and whose bytes end at the record's offset."""

    def __init__(
        self,
        *,
        folder: Path,
        admits: Admits | None,
        ownership: UploadLock,
        watch: PreemptionWatcher,
        late_sync: LateSync,
        threads: Threads,
        durable: bool,
        boot: str,
        blob_path: Callable[[Digest], Path],
        quarantine_path: Callable[[Digest], Path],
        provisional: bool,
    ) -> None:
        """Call on a thread. Raises FileNotFoundError when the folder holds no open upload,
        Preempted when a request that asked later has written to it already, what `admits` raises.
        """
        found = look(folder)
        record, saver = found.record, found.saver
        if record.committed is not None:
            raise FileNotFoundError(str(folder))
        if saver.boot == boot and saver.asked_ns > ownership.asked_ns:
            raise Preempted
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
        self._late_sync = late_sync
        self._threads = threads
        self._durable = durable
        self._blob_path = blob_path
        self._quarantine_path = quarantine_path
        sync_due_ns = saver.sync_due_ns if saver.boot == boot else 0
        self._saver = Saver(boot, ownership.asked_ns, sync_due_ns=sync_due_ns)
        self._unsynced_bytes = self._kept_bytes
        self._syncing: asyncio.Future[None] | None = None
        self._saving_bytes = 0
        """What a record counts that is saved behind the sync under way."""
        self._folder_is_durable = False
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
            self._start_sync(None)

    def _write(self, pieces: Sequence[Buffer]) -> None:
        self._check()
        try:
            self._take_name()
            for first in range(0, len(pieces), _MAX_PIECES):
                self._write_all(list(pieces[first : first + _MAX_PIECES]))
        except OSError as error:
            self.offset = max(self._kept_bytes, self._saving_bytes)
            os.ftruncate(self._fd, self.offset)
            os.lseek(self._fd, self.offset, os.SEEK_SET)
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

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:
        record = Record(self.record.upload_id, self.offset, memo, time.time())
        if not self._durable:
            await self._threads.run(self._save, record)
            return
        await self._finish_sync()
        is_small = record.offset < _SYNCED_FROM_BYTES
        if last and is_small and (due_ns := self._sync_due_ns()):
            await self._threads.run(self._save, record, sync_due_ns=due_ns)
            return
        await self._threads.run(self._check)
        self._start_sync(record)
        if last or is_small:
            await self._finish_sync()

    def _sync_due_ns(self) -> int:
        """Return when the next record of a small upload is to be synced; 0: before it is saved.

        The moment is that of the first record with bytes, and later ones keep it. Once it has come,
        that record may be on the disk, and no other may take its place that is not.
        """
        now_ns = time.monotonic_ns()
        latest_ns = now_ns + _SYNCED_AFTER_NS
        if self.record.offset == 0:
            return latest_ns
        due_ns = self._saver.sync_due_ns
        return due_ns if now_ns < due_ns <= latest_ns else 0

    def _save(self, record: Record, *, durable: bool = False, sync_due_ns: int = 0) -> None:
        self._check()
        self._kept_bytes = record.offset
        saver = replace(self._saver, sync_due_ns=sync_due_ns)
        try:
            write_record(self._folder, record, saver, durable=durable)
            if durable and not self._folder_is_durable:
                sync_folder(self._folder.parent)
                self._folder_is_durable = True
        except OSError as error:
            raise translated(error) from error
        self.record, self._saver = record, saver
        if sync_due_ns:
            self._late_sync.add(self._folder, sync_due_ns)

    def _start_sync(self, record: Record | None) -> None:
        """Sync on a thread what was appended so far, and then save the record that names it."""
        self._unsynced_bytes = 0
        self._saving_bytes = 0 if record is None else record.offset
        self._syncing = self._threads.start(self._sync, record)

    def _sync(self, record: Record | None) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # A failed sync may be reported once and then forgotten by the kernel: the pages count
            # as clean although they are not on disk. Only giving the staging up is honest.
            raise StorageLost(f"staged bytes could not be synced: {error.strerror}") from error
        if record is not None:
            self._save(record, durable=True)

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
        self._late_sync.discard(self._folder)
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
        with suppress(*_NOT_SAVED):
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
        self._late_sync.discard(self._folder)

    def guard(self) -> PreemptionScope:
        return PreemptionScope(self._watch, self._ownership, self._overtaken)

    async def aclose(self) -> None:
        try:
            with suppress(*_NOT_SAVED):
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
        """Wait for the sync under way, if there is one.

        Raises StorageLost, at every call, with the staging removed; once, what saving its record
        raises.
        """
        syncing = self._syncing
        if syncing is None:
            return
        try:
            await outlast(syncing)
        except StorageLost:
            await self._threads.run(self._remove)
            raise
        except _NOT_SAVED:
            self._syncing, self._saving_bytes = None, 0
            raise
        self._syncing, self._saving_bytes = None, 0

    def _check(self) -> None:
        if self._committed is not None or self._removed:
            raise UploadUnknown(self.record.upload_id)
        if self._fd < 0:
            raise self._overtaken()
        try:
            self._ownership.check()
        except Preempted as error:
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
