"""What the filesystem backend makes of a file system that fails (B3, B4, B6)."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from blobd.backends.filesystem import writer
from blobd.errors import BackendUnavailable, StorageFull, StorageLost, UploadUnknown
from tests.backends.acts import (
    SOON_S,
    begin,
    digest_of,
    off_loop,
    staged,
    store,
)
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from blobd.backends.filesystem.backend import Filesystem

UPLOAD_ID = "f" * 32


@pytest.fixture
def site(memory_path: Path) -> FilesystemSite:
    return FilesystemSite(memory_path, durable=True)


@pytest.fixture
def opened(site: FilesystemSite) -> Filesystem:
    return site.open()


@pytest.fixture
async def backend(opened: Filesystem) -> AsyncIterator[Filesystem]:
    yield opened
    await opened.aclose()


class TestFailures:
    async def test_a_full_disk_takes_the_upload_back_to_its_record(
        self, backend: Filesystem, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """append: StorageFull after some was written; the caller continues from the record."""
        upload_id = await begin(backend)
        real_writev = os.writev

        def writev(fd: int, pieces: Sequence[bytes]) -> int:
            real_writev(fd, [bytes(pieces[0])[:3]])
            raise OSError(errno.ENOSPC, "No space left on device")

        async with staged(backend, upload_id) as staging:
            await staging.append([b"saved"])
            await staging.checkpoint(b"")
            await staging.append([b" and not"])
            monkeypatch.setattr(os, "writev", writev)
            with pytest.raises(StorageFull):
                await staging.append([b"lost"])
            monkeypatch.undo()
            assert staging.offset == 5
            await staging.append([b", then more"])
            await staging.commit(digest_of(b"saved, then more"))
        assert await off_loop(site.peek_blob, digest_of(b"saved, then more")) == b"saved, then more"

    async def test_an_append_that_fails_goes_back_to_the_record_on_its_way(
        self, backend: Filesystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """append, checkpoint: a record saved behind a sync counts no bytes that were cut."""
        monkeypatch.setattr(writer, "_SYNCED_FROM_BYTES", 0)
        syncing, may_sync = threading.Event(), threading.Event()

        def sync(fd: int) -> None:
            syncing.set()
            assert may_sync.wait(SOON_S)

        def full(fd: int, pieces: Sequence[bytes]) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"saved"])
            monkeypatch.setattr(os, "fdatasync", sync)
            monkeypatch.setattr(os, "writev", full)
            await staging.checkpoint(b"memo")
            await off_loop(syncing.wait, SOON_S)
            with pytest.raises(StorageFull):
                await staging.append([b"no room"])
            assert staging.offset == 5
            may_sync.set()
        monkeypatch.undo()
        async with staged(backend, upload_id) as staging:
            assert staging.offset == 5
            await staging.commit(digest_of(b"saved"))

    async def test_a_record_that_cannot_be_written_leaves_the_last_one(
        self, backend: Filesystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """checkpoint: StorageFull; then the last record holds."""
        upload_id = await begin(backend, b"first")

        def full(fd: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        async with staged(backend, upload_id) as staging:
            await staging.append([b"12345"])
            monkeypatch.setattr(os, "write", full)
            with pytest.raises(StorageFull):
                await staging.checkpoint(b"second")
            with pytest.raises(StorageFull):
                await staging.commit(digest_of(b"12345"))
            monkeypatch.undo()
            assert (staging.record.memo, staging.record.offset) == (b"first", 0)
            assert (await backend.peek(upload_id)).memo == b"first"
            await staging.checkpoint(b"third")
            await staging.commit(digest_of(b"12345"))

    async def test_a_full_disk_begins_no_upload(
        self, backend: Filesystem, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """begin: raises StorageFull, and leaves nothing."""

        def full(fd: int, data: bytes) -> int:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageFull):
            await backend.begin(UPLOAD_ID, b"")
        monkeypatch.undo()
        assert await off_loop(site.peek_uploads) == set()

    async def test_an_id_used_twice_harms_no_upload(self, backend: Filesystem) -> None:
        """begin: the id is new; if it is not, the upload that has it stays."""
        await backend.begin(UPLOAD_ID, b"first")
        with pytest.raises(BackendUnavailable):
            await backend.begin(UPLOAD_ID, b"second")
        assert (await backend.peek(UPLOAD_ID)).memo == b"first"

    async def test_bytes_that_cannot_be_synced_are_never_published(
        self, backend: Filesystem, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """B3, commit: StorageLost, the staging is gone; a failed fsync is never retried."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"lost"])
            monkeypatch.setattr(os, "fdatasync", _failing_sync)
            with pytest.raises(StorageLost):
                await staging.commit(digest_of(b"lost"))
            monkeypatch.undo()
            with pytest.raises(UploadUnknown):
                await staging.commit(digest_of(b"lost"))
        assert await off_loop(site.peek_blobs) == set()
        assert await off_loop(site.peek_uploads) == set()

    async def test_a_name_that_cannot_be_synced_leaves_no_receipt(
        self, backend: Filesystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """B3: no later answer may vouch for a blob that power loss may take back."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"data"])
            monkeypatch.setattr(os, "fsync", _failing_sync)
            with pytest.raises(StorageLost):
                await staging.commit(digest_of(b"data"))
            monkeypatch.undo()
            with pytest.raises(UploadUnknown):
                await staging.commit(digest_of(b"data"))
        with pytest.raises(UploadUnknown):
            await backend.peek(upload_id)

    async def test_a_sync_on_the_way_that_fails_ends_the_staging(
        self, backend: Filesystem, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """B3: also when it is noticed long before the commit."""
        monkeypatch.setattr(writer, "_SYNC_EVERY_BYTES", 4)
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            monkeypatch.setattr(os, "fdatasync", _failing_sync)
            await staging.append([b"12345"])
            with pytest.raises(StorageLost):
                await staging.append([b"12345"])
            monkeypatch.undo()
            with pytest.raises((StorageLost, UploadUnknown)):
                await staging.commit(digest_of(b"1234512345"))
        assert await off_loop(site.peek_blobs) == set()
        assert await off_loop(site.peek_uploads) == set()

    async def test_a_cancellation_does_not_swallow_a_failed_sync(
        self, backend: Filesystem, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """B3, B6: the kernel tells of a failed sync once; whoever was cancelled then, it counts."""
        monkeypatch.setattr(writer, "_SYNC_EVERY_BYTES", 4)
        syncing, may_fail = threading.Event(), threading.Event()

        def sync(fd: int) -> None:
            syncing.set()
            assert may_fail.wait(SOON_S)
            _failing_sync(fd)

        async with staged(backend) as staging:
            monkeypatch.setattr(os, "fdatasync", sync)
            await staging.append([b"12345"])
            async with asyncio.TaskGroup() as group:
                commit = group.create_task(staging.commit(digest_of(b"12345")))
                await off_loop(syncing.wait, SOON_S)
                commit.cancel()
                await asyncio.sleep(0)
                may_fail.set()
            assert commit.cancelled()
            monkeypatch.undo()
            with pytest.raises(StorageLost):
                await staging.commit(digest_of(b"12345"))
        assert await off_loop(site.peek_blobs) == set()

    async def test_nothing_is_synced_where_durability_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Promise 3: `durability = "none"` is for benches and tests."""
        monkeypatch.setattr(os, "fdatasync", _failing_sync)
        monkeypatch.setattr(os, "fsync", _failing_sync)
        backend = await off_loop(FilesystemSite(tmp_path, durable=False).open)
        digest = await store(backend, b"data")
        await backend.delete(digest)
        await backend.aclose()

    async def test_trouble_is_told_in_the_domains_words(
        self, backend: Filesystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """errors.py: BackendUnavailable, retryable, for what the file system cannot do."""
        digest = await store(backend, b"data")

        def broken(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        for name in ("lstat", "open", "listdir", "statvfs"):
            monkeypatch.setattr(os, name, broken)
        with pytest.raises(BackendUnavailable, match="Input/output error") as raised:
            await backend.stat(digest)
        assert raised.value.retryable
        with pytest.raises(BackendUnavailable):
            await backend.open(digest)
        with pytest.raises(BackendUnavailable):
            await backend.free_bytes()
        with pytest.raises(BackendUnavailable):
            [record async for record in backend.stagings()]
        monkeypatch.undo()


def _failing_sync(fd: int) -> None:
    raise OSError(errno.EIO, "Input/output error")
