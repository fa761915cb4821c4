"""Blobs in this process's memory: for trials, and the fake that tests may believe.

It passes the contract that every backend passes. Everything is forgotten at exit. Each verb lets
other tasks run before it does its work, as a slower backend would.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blobd.backends.base import BlobInfo, Committed, Record, StreamSource
from blobd.backends.writer_locks import WriterLocks
from blobd.errors import BlobNotFound, UploadUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from blobd.backends.base import Admits, Buffer, Orphan
    from blobd.backends.writer_locks import WriterLock
    from blobd.digest import Digest, Span

_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Blob:
    data: bytearray
    stored_at: float


@dataclass(slots=True)
class _Upload:
    """One upload: its last record and its bytes."""

    record: Record
    data: bytearray = field(default_factory=bytearray)


class Memory:
    """A Backend (see `base.py`) on two dictionaries."""

    def __init__(self, *, takeover_wait_s: float = 5.0) -> None:
        self._locks = WriterLocks(wait_s=takeover_wait_s)
        self._blobs: dict[Digest, _Blob] = {}
        self._quarantine: dict[Digest, _Blob] = {}
        self._uploads: dict[str, _Upload] = {}
        self._marker: str | None = None

    async def begin(self, upload_id: str, memo: bytes) -> Record:
        await _others()
        record = Record(upload_id, 0, memo, time.time())
        self._uploads[upload_id] = _Upload(record)
        return record

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,
        untold: bool = False,  # noqa: ARG002
        provisional: bool = False,  # noqa: ARG002
    ) -> MemoryStaging:
        await _others()
        upload = self._open_upload(upload_id)
        if admits is not None:
            admits(upload.record)
        lock = await self._locks.take(upload_id, offset=lambda: upload.record.offset)
        try:
            self._open_upload(upload_id)
        except UploadUnknown:
            lock.release()
            raise
        del upload.data[upload.record.offset :]
        return MemoryStaging(self, upload, lock)

    async def peek(self, upload_id: str) -> Record:
        await _others()
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise UploadUnknown(upload_id)
        return upload.record

    async def forget(self, upload_id: str) -> None:
        await _others()
        upload = self._uploads.get(upload_id)
        if upload is not None and upload.record.committed is not None:
            del self._uploads[upload_id]

    async def stat(self, digest: Digest) -> int:
        await _others()
        return len(self._blob(digest).data)

    async def glance(self, digests: Sequence[Digest]) -> list[int | None]:
        await _others()
        found = [self._blobs.get(digest) for digest in digests]
        return [None if blob is None else len(blob.data) for blob in found]

    async def measure(self, digest: Digest) -> int:
        return await self.stat(digest)

    async def quarantine(self, digest: Digest) -> None:
        await _others()
        if digest in self._blobs:
            self._quarantine[digest] = self._blobs.pop(digest)

    async def quarantined(self) -> AsyncIterator[BlobInfo]:
        for digest, blob in list(self._quarantine.items()):
            yield BlobInfo(digest, len(blob.data), blob.stored_at)

    async def open(self, digest: Digest) -> StreamSource:
        await _others()
        view = memoryview(self._blob(digest).data).toreadonly()

        async def read(span: Span) -> AsyncGenerator[Buffer]:
            for start in range(span.start, span.stop, _READ_BYTES):
                yield view[start : min(start + _READ_BYTES, span.stop)]

        return StreamSource(len(view), read)

    async def delete(self, digest: Digest) -> int:
        await _others()
        found = [kept.pop(digest, None) for kept in (self._blobs, self._quarantine)]
        if not any(found):
            raise BlobNotFound(digest)
        return sum(len(blob.data) for blob in found if blob is not None)

    async def blobs(
        self,
        *,
        after: Digest | None = None,
        measured: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[BlobInfo]:
        for digest, blob in sorted(self._blobs.items(), key=lambda item: item[0]):
            if after is None or digest > after:
                yield BlobInfo(digest, len(blob.data), blob.stored_at)

    async def stagings(self) -> AsyncIterator[Record]:
        for upload in list(self._uploads.values()):
            yield upload.record

    async def orphans(
        self,
        *,
        deep: bool,  # noqa: ARG002
        remove: bool,  # noqa: ARG002
        clock: Callable[[], float] = time.time,  # noqa: ARG002
    ) -> AsyncIterator[Orphan]:
        """Nothing here outlives a crash."""
        nothing: tuple[Orphan, ...] = ()
        for orphan in nothing:
            yield orphan

    async def free_bytes(self) -> int | None:
        return None

    async def marker(self) -> str | None:
        return self._marker

    async def mark(self, store_id: str, *, replace: bool = False) -> str:
        if self._marker is None or replace:
            self._marker = store_id
        return self._marker

    async def probe(self) -> None:
        """Nothing that a probe could find fails here."""

    async def aclose(self) -> None:
        """Nothing is held but memory."""

    def publish(self, upload: _Upload, digest: Digest) -> Committed:
        """Make an upload's bytes a blob, and its record a receipt; for its writer."""
        replaced = digest in self._blobs
        now = time.time()
        self._blobs[digest] = _Blob(upload.data, now)
        self._quarantine.pop(digest, None)
        last = upload.record
        upload.record = Record(last.upload_id, len(upload.data), last.memo, now, digest)
        return Committed(digest, len(upload.data), replaced)

    def remove(self, upload: _Upload) -> None:
        """Forget an upload; for its writer."""
        del self._uploads[upload.record.upload_id]

    def _blob(self, digest: Digest) -> _Blob:
        blob = self._blobs.get(digest)
        if blob is None:
            raise BlobNotFound(digest)
        return blob

    def _open_upload(self, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.record.committed is not None:
            raise UploadUnknown(upload_id)
        return upload


class MemoryStaging:
    """A Staging (see `base.py`)."""

    trusted = True

    def __init__(self, backend: Memory, upload: _Upload, lock: WriterLock) -> None:
        self._backend = backend
        self._upload = upload
        self._lock = lock
        self._over = False
        self._aborted = False
        self._committed: Committed | None = None

    @property
    def record(self) -> Record:
        return self._upload.record

    @property
    def offset(self) -> int:
        return len(self._upload.data)

    async def append(self, pieces: Sequence[Buffer]) -> None:
        try:
            await _others()
        except asyncio.CancelledError:
            if not self._over:
                del self._upload.data[self.record.offset :]
            raise
        self._check_writer()
        self._upload.data += b"".join(pieces)

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:  # noqa: ARG002
        await _others()
        self._check_writer()
        self._upload.record = Record(self.record.upload_id, self.offset, memo, time.time())

    async def read(self, span: Span) -> AsyncIterator[Buffer]:
        for start in range(span.start, span.stop, _READ_BYTES):
            yield bytes(self._upload.data[start : min(start + _READ_BYTES, span.stop)])

    async def commit(self, digest: Digest) -> Committed:
        await _others()
        if self._committed is None:
            self._check_writer()
            self._committed = self._backend.publish(self._upload, digest)
        return self._committed

    async def abort(self) -> None:
        await _others()
        if self._committed is None and not self._aborted:
            self._check_writer()
            self._aborted = True
            self._backend.remove(self._upload)

    def guard(self) -> AbstractAsyncContextManager[None]:
        return self._lock.guard()

    async def aclose(self) -> None:
        self._over = True
        self._lock.release()

    def _check_writer(self) -> None:
        if self._committed is not None or self._aborted:
            raise UploadUnknown(self.record.upload_id)
        self._lock.check()


async def _others() -> None:
    await asyncio.sleep(0)
