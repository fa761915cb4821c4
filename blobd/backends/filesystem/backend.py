"""Blobs as files on one file system, shared by any number of processes of one host.

    blobs/<algorithm>/<first two>/<encoded>   read-only files
    blobs/store.id                            the marker: an id on a line
    uploads/<id>/                             see `filesystem/folder.py`
    quarantine/<algorithm>-<encoded>          damaged bytes, kept until the blob is pushed again

Commit is a rename, so all trees must lie on one file system. Fan-out folders are made and
synced at the start; afterwards one folder sync makes a blob's name durable.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from blobd.backends.base import BlobInfo, FileSource, Record
from blobd.backends.filesystem.folder import (
    Saver,
    read_record,
    read_settled,
    remove_folder,
    translated,
    write_record,
)
from blobd.backends.filesystem.late_sync import LateSync
from blobd.backends.filesystem.leftovers import Leftovers
from blobd.backends.filesystem.takeover import Preempted, PreemptionWatcher, UploadLock
from blobd.backends.filesystem.writer import FileStaging
from blobd.digest import SUPPORTED_ALGORITHMS, Digest, MalformedDigest
from blobd.durable import boot_id, read, sync_folder, write_synced
from blobd.errors import (
    BackendUnavailable,
    BlobNotFound,
    ConfigInvalid,
    UploadBusy,
    UploadOvertaken,
    UploadUnknown,
)
from blobd.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from blobd.backends.base import Admits, Orphan
    from blobd.errors import BlobdError

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_TAKEOVER_WAIT_S = 5.0
_TAKEOVER_POLL_S = 0.01
_MARKER = "store.id"
_PAGE_BLOBS = 500
_PAGE_UPLOADS = 200
_SHARDS = tuple(f"{number:02x}" for number in range(256))


class Filesystem:
    """A Backend (see `base.py`) on a folder."""

    def __init__(self, root: Path, *, durable: bool, threads: int = 8) -> None:
        """Make the folders. Blocks; raises ConfigInvalid when `root` cannot serve."""
        self._root = root
        self._blobs = root / "blobs"
        self._uploads = root / "uploads"
        self._quarantine = root / "quarantine"
        self._durable = durable
        try:
            _make_folders(self._blobs, self._uploads, self._quarantine, durable=durable)
        except OSError as error:
            raise ConfigInvalid(
                f"store.path = {str(root)!r}: must be a folder to write to ({error.strerror})"
            ) from error
        if self._blobs.stat().st_dev != self._uploads.stat().st_dev:
            raise ConfigInvalid(
                f"store.path = {str(root)!r}: blobs and uploads in it must lie on one file system"
            )
        self._boot = boot_id()
        self._threads = Threads(threads, "blobd-files")
        self._watch = PreemptionWatcher()
        self._late_sync = LateSync()

    async def begin(self, upload_id: str, memo: bytes) -> Record:
        record = Record(upload_id, 0, memo, time.time())
        await self._threads.run(self._begin, record)
        return record

    def _begin(self, record: Record) -> None:
        folder = self._uploads / record.upload_id
        with _failures():
            folder.mkdir()
            try:
                write_record(folder, record, Saver(self._boot, 0))
            except OSError:
                remove_folder(folder)
                raise

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,
        untold: bool = False,  # noqa: ARG002
        provisional: bool = False,
    ) -> FileStaging:
        folder = self._folder(upload_id)
        ownership = UploadLock(folder, self._boot)
        opened: list[FileStaging] = []

        def before_asking() -> None:
            if admits is not None:
                admits(read_record(folder)[0])

        def attempt() -> bool:
            if not ownership.try_take(before_asking):
                return False
            staging = FileStaging(
                folder=folder,
                admits=admits,
                ownership=ownership,
                watch=self._watch,
                late_sync=self._late_sync,
                threads=self._threads,
                durable=self._durable,
                boot=self._boot,
                blob_path=self._blob_path,
                quarantine_path=self._quarantine_path,
                provisional=provisional,
            )
            opened.append(staging)
            return True

        try:
            await self._until(attempt, upload_id)
        except asyncio.CancelledError:
            for staging in opened:
                await staging.aclose()
            ownership.release()
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            ownership.release()
            raise UploadUnknown(upload_id) from error
        except OSError as error:
            ownership.release()
            raise translated(error) from error
        except BaseException:
            ownership.release()
            raise
        return opened[0]

    async def _until(self, attempt: Callable[[], bool], upload_id: str) -> None:
        """Attempt to become the writer, while the present one is asked to let go."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _TAKEOVER_WAIT_S
        try:
            while not await self._threads.run(attempt):
                if loop.time() >= give_up_at:
                    raise UploadBusy(upload_id, _TAKEOVER_WAIT_S)
                await asyncio.sleep(_TAKEOVER_POLL_S)
        except Preempted as error:
            record = await self.peek(upload_id)
            raise UploadOvertaken(upload_id, record.offset) from error

    async def peek(self, upload_id: str) -> Record:
        folder = self._folder(upload_id)
        try:
            return await self._threads.run(read_settled, folder, self._boot)
        except FileNotFoundError as error:
            raise UploadUnknown(upload_id) from error

    async def forget(self, upload_id: str) -> None:
        folder = self._folder(upload_id)

        def remove_receipt() -> None:
            with suppress(FileNotFoundError):
                record, _ = read_record(folder)
                if record.committed is not None:
                    remove_folder(folder)

        with _failures():
            await self._threads.run(remove_receipt)

    async def stat(self, digest: Digest) -> int:
        with _failures(BlobNotFound(digest)):
            return _file_size(await self._threads.run(os.lstat, self._blob_path(digest)))

    async def glance(self, digests: Sequence[Digest]) -> list[int | None]:
        def look() -> list[int | None]:
            sizes_bytes: list[int | None] = []
            for digest in digests:
                try:
                    sizes_bytes.append(_file_size(os.lstat(self._blob_path(digest))))
                except FileNotFoundError:
                    sizes_bytes.append(None)
            return sizes_bytes

        with _failures():
            if len(digests) == 1:
                # One lstat takes microseconds; handing it to a thread made HEAD half as dear again.
                return look()
            return await self._threads.run(look)

    async def measure(self, digest: Digest) -> int:
        return await self.stat(digest)

    async def quarantine(self, digest: Digest) -> None:
        def keep_aside() -> None:
            path, aside = self._blob_path(digest), self._quarantine_path(digest)
            with suppress(FileNotFoundError):
                path.rename(aside)
                if self._durable:
                    sync_folder(aside.parent)
                    sync_folder(path.parent)

        with _failures():
            await self._threads.run(keep_aside)

    async def quarantined(self) -> AsyncIterator[BlobInfo]:
        with _failures():
            for info in await self._threads.run(self._kept_aside):
                yield info

    def _kept_aside(self) -> list[BlobInfo]:
        found = []
        with os.scandir(self._quarantine) as entries:
            for entry in entries:
                with suppress(MalformedDigest, FileNotFoundError):
                    digest = Digest.parse(entry.name.replace("-", ":", 1))
                    facts = entry.stat(follow_symlinks=False)
                    found.append(BlobInfo(digest, facts.st_size, facts.st_mtime))
        return found

    async def open(self, digest: Digest) -> FileSource:
        path = self._blob_path(digest)
        opened: list[int] = []

        def open_file() -> int:
            opened.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            return _file_size(os.fstat(opened[0]))

        try:
            with _failures(BlobNotFound(digest)):
                size_bytes = await self._threads.run(open_file)
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        return FileSource(opened[0], size_bytes, partial(os.close, opened[0]))

    async def delete(self, digest: Digest) -> int:
        path, aside = self._blob_path(digest), self._quarantine_path(digest)

        def remove() -> int:
            aside_bytes = None
            with suppress(FileNotFoundError):
                aside_bytes = aside.lstat().st_size
                aside.unlink()
            try:
                size_bytes = _file_size(path.lstat())
                path.unlink()
            except FileNotFoundError:
                if aside_bytes is None:
                    raise
                return aside_bytes
            if self._durable:
                sync_folder(path.parent)
            return size_bytes + (aside_bytes or 0)

        with _failures(BlobNotFound(digest)):
            return await self._threads.run(remove)

    async def blobs(
        self,
        *,
        after: Digest | None = None,
        measured: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[BlobInfo]:
        shards = iter(
            [
                (algorithm, shard)
                for algorithm in sorted(SUPPORTED_ALGORITHMS)
                for shard in _SHARDS
                if after is None or (algorithm, shard) >= (after.algorithm, after.encoded[:2])
            ]
        )
        with _failures():
            while page := await self._threads.run(self._page, shards):
                for info in page:
                    if after is None or info.digest > after:
                        yield info

    def _page(self, shards: Iterator[tuple[str, str]]) -> list[BlobInfo]:
        """Read shards until some hundred blobs are found, or none is left."""
        page: list[BlobInfo] = []
        for algorithm, shard in shards:
            page += self._shard(algorithm, shard)
            if len(page) >= _PAGE_BLOBS:
                break
        return page

    def _shard(self, algorithm: str, shard: str) -> list[BlobInfo]:
        found = []
        try:
            with os.scandir(self._blobs / algorithm / shard) as entries:
                for entry in entries:
                    try:
                        digest = Digest.parse(f"{algorithm}:{entry.name}")
                        if not entry.is_file(follow_symlinks=False):
                            continue
                        facts = entry.stat(follow_symlinks=False)
                    except (MalformedDigest, FileNotFoundError):
                        continue
                    if digest.encoded.startswith(shard):
                        found.append(BlobInfo(digest, facts.st_size, facts.st_mtime))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=lambda info: info.digest)

    async def stagings(self) -> AsyncIterator[Record]:
        with _failures():
            names = await self._threads.run(os.listdir, self._uploads)
        ours = [name for name in names if _UPLOAD_ID.fullmatch(name) is not None]
        for first in range(0, len(ours), _PAGE_UPLOADS):
            page = ours[first : first + _PAGE_UPLOADS]
            for record in await self._threads.run(self._records, page):
                yield record

    def _records(self, names: Sequence[str]) -> list[Record]:
        records = []
        for name in names:
            with suppress(FileNotFoundError):
                records.append(read_settled(self._uploads / name, self._boot))
        return records

    async def orphans(
        self,
        *,
        deep: bool,
        remove: bool,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[Orphan]:
        leftovers = Leftovers(self._root, remove=remove, clock=clock)
        found = chain(leftovers.shallow(), leftovers.deep()) if deep else leftovers.shallow()
        with _failures():
            while orphans := await self._threads.run(lambda: list(islice(found, _PAGE_UPLOADS))):
                for orphan in orphans:
                    yield orphan

    async def free_bytes(self) -> int | None:
        with _failures():
            facts = await self._threads.run(os.statvfs, self._uploads)
        return facts.f_bavail * facts.f_frsize

    async def marker(self) -> str | None:
        with _failures():
            return await self._threads.run(self._read_marker)

    def _read_marker(self) -> str | None:
        try:
            return read(self._blobs / _MARKER).decode("ascii", errors="replace").strip()
        except FileNotFoundError:
            return None

    async def mark(self, store_id: str, *, replace: bool = False) -> str:
        with _failures():
            return await self._threads.run(self._mark, store_id, replace=replace)

    def _mark(self, store_id: str, *, replace: bool) -> str:
        """Write the marker whole, and make it durable; of several processes one wins."""
        path = self._blobs / _MARKER
        temporary = path.with_name(f"{_MARKER}.{secrets.token_hex(8)}")
        try:
            write_synced(temporary, f"{store_id}\n".encode())
            if replace:
                temporary.rename(path)
            else:
                with suppress(FileExistsError):
                    path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self._blobs)
        return self._read_marker() or store_id

    async def probe(self) -> None:
        def write_and_read() -> None:
            with TemporaryFile(dir=self._uploads, prefix=".probe-") as file:  # nameless, if it may
                file.write(b"blobd")
                file.seek(0)
                if file.read() != b"blobd":
                    raise BackendUnavailable("a probe file did not read back as written")

        with _failures():
            await self._threads.run(write_and_read)

    async def aclose(self) -> None:
        await self._threads.run(self._late_sync.close)
        await self._threads.run(self._watch.close)
        self._threads.close()

    def _folder(self, upload_id: str) -> Path:
        if _UPLOAD_ID.fullmatch(upload_id) is None:
            raise UploadUnknown(upload_id)
        return self._uploads / upload_id

    def _blob_path(self, digest: Digest) -> Path:
        return self._blobs / digest.algorithm / digest.encoded[:2] / digest.encoded

    def _quarantine_path(self, digest: Digest) -> Path:
        return self._quarantine / f"{digest.algorithm}-{digest.encoded}"


@contextmanager
def _failures(missing: BlobdError | None = None) -> Iterator[None]:
    """Translate operating system errors; `missing` is what a missing file means."""
    try:
        yield
    except OSError as error:
        if missing is not None and error.errno in (errno.ENOENT, errno.ELOOP):
            raise missing from error
        raise translated(error) from error


def _file_size(facts: os.stat_result) -> int:
    """Return a blob's size in bytes. Raises FileNotFoundError when it is no file."""
    if not stat.S_ISREG(facts.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a file")
    return facts.st_size


def _make_folders(blobs: Path, uploads: Path, quarantine: Path, *, durable: bool) -> None:
    uploads.mkdir(parents=True, exist_ok=True)
    made = []
    if not quarantine.is_dir():
        quarantine.mkdir(exist_ok=True)
        made.append(quarantine)
    for algorithm in SUPPORTED_ALGORITHMS:
        for shard in _SHARDS:
            folder = blobs / algorithm / shard
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                made.append(folder)
    if durable and made:
        parents = {parent for folder in made for parent in list(folder.parents)[:4]}
        for folder in sorted(parents, key=lambda path: len(path.parts), reverse=True):
            sync_folder(folder)
