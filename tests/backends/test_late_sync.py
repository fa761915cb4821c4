"""Small uploads are synced some time after they were saved, at nobody's expense (B3, B5, B6)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from blobd.backends.filesystem import folder, late_sync, takeover, writer
from blobd.errors import UploadUnknown
from tests.backends.acts import SOON_S, begin, digest_of, off_loop, staged, until
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from blobd.backends.filesystem.backend import Filesystem

DATA = b"a small upload"
DIGEST = digest_of(DATA)


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


class Syncs:
    """Stands before the kernel's syncs, on the late thread alone: counts, holds up, refuses."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of_bytes = self.of_others = 0
        self.refuses_bytes = self.refuses_records = False
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._sync)

    def _sync(self, fd: int) -> None:
        if threading.current_thread().name != "blobd-late-sync":
            return
        path = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - no path to begin with
        if path.endswith("/record") or stat.S_ISDIR(os.fstat(fd).st_mode):
            self.of_others += 1
            if self.refuses_records:
                raise OSError(errno.EIO, "Input/output error")
            return
        self.begun.set()
        assert self.may_end.wait(SOON_S)
        self.of_bytes += 1
        if self.refuses_bytes:
            raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


async def _save(backend: Filesystem) -> str:
    """Begin an upload and append to it; return its id."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.checkpoint(b"memo", last=True)
    return upload_id


async def test_bytes_that_cannot_be_synced_end_the_upload(
    backend: Filesystem, site: FilesystemSite, syncs: Syncs, caplog: pytest.LogCaptureFixture
) -> None:
    """B3: the kernel tells of a failed sync once; no later one may vouch for the bytes."""
    syncs.refuses_bytes = True
    upload_id = await _save(backend)
    await until(lambda: bool(caplog.records))
    with pytest.raises(UploadUnknown):
        await backend.peek(upload_id)
    assert await off_loop(site.peek_uploads) == set()
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "Input/output error" in line.getMessage()
    assert line.__dict__["upload_id"] == upload_id


async def test_nobody_begins_to_write_while_bytes_are_synced(
    backend: Filesystem, site: FilesystemSite, syncs: Syncs
) -> None:
    """B3: a writer that opened the file after the failure would publish lost bytes as a blob."""
    syncs.refuses_bytes = True
    syncs.may_end.clear()
    upload_id = await _save(backend)
    await off_loop(syncs.begun.wait, SOON_S)

    async def publish() -> None:
        with pytest.raises(UploadUnknown):
            async with staged(backend, upload_id) as staging:
                await staging.commit(DIGEST)

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        await until((site.upload_path(upload_id) / "claim").is_symlink)
        syncs.may_end.set()
    assert await off_loop(site.peek_blobs) == set()


async def test_who_waited_for_the_sync_goes_on(
    backend: Filesystem, site: FilesystemSite, syncs: Syncs
) -> None:
    """B5: it takes the lock when the sync is done."""
    syncs.may_end.clear()
    upload_id = await _save(backend)
    await off_loop(syncs.begun.wait, SOON_S)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(backend.stage(upload_id))
        await until((site.upload_path(upload_id) / "claim").is_symlink)
        syncs.may_end.set()
    staging = waiting.result()
    await staging.commit(DIGEST)
    await staging.aclose()
    assert await off_loop(site.peek_blob, DIGEST) == DATA


async def test_a_writer_is_not_disturbed_and_its_upload_synced_afterwards(
    backend: Filesystem, site: FilesystemSite, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5: also when the writer saves nothing more itself."""
    monkeypatch.setattr(late_sync, "_AGAIN_NS", 1)
    looks: list[bool] = []

    @contextmanager
    def nobody_writes(folder: Path) -> Iterator[bool]:
        with takeover.nobody_writes(folder) as settled:
            looks.append(settled)
            yield settled

    monkeypatch.setattr(late_sync, "nobody_writes", nobody_writes)
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.checkpoint(b"memo", last=True)
        await until(lambda: len(looks) >= 2)
        assert not (site.upload_path(upload_id) / "claim").is_symlink()
        assert (syncs.of_bytes, any(looks)) == (0, False)
    await until(lambda: syncs.of_others == 3)
    assert syncs.of_bytes == 1
    assert (await backend.peek(upload_id)).offset == len(DATA)


@pytest.mark.parametrize("by", ["this process", "another"])
async def test_what_is_finished_soon_is_not_synced_again(
    backend: Filesystem,
    site: FilesystemSite,
    syncs: Syncs,
    caplog: pytest.LogCaptureFixture,
    by: str,
) -> None:
    """Nor what was removed, whoever did that; nothing of it is reported."""
    finished, removed, lasting = [await _save(backend) for _ in range(3)]
    finisher = backend if by == "this process" else await off_loop(site.open)
    async with staged(finisher, finished) as staging:
        await staging.commit(DIGEST)
    async with staged(finisher, removed) as staging:
        await staging.abort()
    if finisher is not backend:
        await finisher.aclose()
    await until(lambda: syncs.of_others == 3)
    assert syncs.of_bytes == 1
    assert caplog.records == []
    assert (await backend.peek(lasting)).offset == len(DATA)


async def test_uploads_are_synced_together(backend: Filesystem, syncs: Syncs) -> None:
    """The folder of all uploads once for those that are due at one time."""
    syncs.may_end.clear()
    await _save(backend)
    await off_loop(syncs.begun.wait, SOON_S)
    for _ in range(5):
        await _save(backend)
    await asyncio.sleep(writer._SYNCED_AFTER_NS / 1e9)
    syncs.may_end.set()
    await until(lambda: syncs.of_bytes == 6 and syncs.of_others == 3 + 5 * 2 + 1)


async def test_a_record_that_cannot_be_synced_is_reported(
    backend: Filesystem, syncs: Syncs, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bytes are on the disk and it counts them rightly: only a power failure would take it."""
    syncs.refuses_records = True
    upload_id = await _save(backend)
    await until(lambda: bool(caplog.records))
    assert caplog.records[0].levelno == logging.WARNING
    assert upload_id in caplog.records[0].getMessage()
    async with staged(backend, upload_id) as staging:
        assert staging.offset == len(DATA)


async def test_closing_syncs_what_is_left_and_ends_the_thread(
    opened: Filesystem, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B6: nothing works for a backend that was closed."""
    monkeypatch.setattr(writer, "_SYNCED_AFTER_NS", 1 << 60)
    before = _late_threads()
    await _save(opened)
    await _save(opened)
    assert len(_late_threads() - before) == 1
    await opened.aclose()
    assert (syncs.of_bytes, syncs.of_others) == (2, 5)
    assert _late_threads() <= before


def _late_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "blobd-late-sync"}


async def test_a_cancelled_checkpoint_that_saved_is_synced_too(
    backend: Filesystem, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B6: a thread saves although nobody waits for it any more."""
    saving, may_save = threading.Event(), threading.Event()

    def write(*arguments: object, **more: object) -> None:
        saving.set()
        assert may_save.wait(SOON_S)
        folder.write_record(*arguments, **more)  # type: ignore[arg-type]

    async with staged(backend) as staging:
        await staging.append([DATA])
        monkeypatch.setattr("blobd.backends.filesystem.writer.write_record", write)
        async with asyncio.TaskGroup() as group:
            checkpoint = group.create_task(staging.checkpoint(b"memo", last=True))
            await off_loop(saving.wait, SOON_S)
            checkpoint.cancel()
            may_save.set()
        assert checkpoint.cancelled()
    await until(lambda: syncs.of_others == 3)
    assert syncs.of_bytes == 1
