"""Sessions after power loss: only what was synced is there, names as well as bytes (promise 5)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blobd import session
from blobd.backends.filesystem import writer
from blobd.errors import UploadUnknown
from tests.backends.acts import digest_of, fetch, off_loop, until
from tests.backends.sites import FilesystemSite
from tests.core.hall import OWNER, hall
from tests.core.scripted import ScriptedBody

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB = 1024 * 1024
_READ_BYTES = 1 << 30
DATA = random.Random(14).randbytes(24 * _MIB)
DIGEST = digest_of(DATA)


class Disk:
    """Follows what a disk is sure to have: a file's bytes and a folder's names at their last sync.

    The kernel may have written more, but nobody may count on it.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._bytes: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._followed(getattr(os, name)))

    def _followed(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def followed(fd: int) -> None:
            facts = os.fstat(fd)
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115 - no path to begin with
            if stat.S_ISDIR(facts.st_mode):
                names = {entry.name: entry.inode() for entry in os.scandir(path)}
                sync(fd)
                self._names[path] = names
            else:
                data = path.read_bytes()
                sync(fd)
                self._bytes[facts.st_ino] = data

        return followed

    def knows(self, upload_id: str) -> bool:
        """Say whether an upload's folder would be there."""
        return upload_id in self._names.get(self._root / "uploads", {})

    def restore(self, upload_id: str, to: Path) -> None:
        """Write what is left of an upload to the folder of another store, as after a restart."""
        if not self.knows(upload_id):
            return
        uploads = self._root / "uploads"
        folder = to / "uploads" / upload_id
        folder.mkdir(parents=True)
        for name, inode in self._names.get(uploads / upload_id, {}).items():
            (folder / name).write_bytes(self._bytes.get(inode, b""))
        record = folder / "record"
        if record.exists():
            document = json.loads(record.read_text())
            record.write_text(json.dumps(document | {"boot": "the boot before"}))


@pytest.fixture
def site(tmp_path: Path) -> FilesystemSite:
    return FilesystemSite(tmp_path / "before", durable=True)


@pytest.fixture
def after(tmp_path: Path) -> FilesystemSite:
    """The store that the machine finds when it is up again."""
    return FilesystemSite(tmp_path / "after", durable=True)


@pytest.fixture
def disk(site: FilesystemSite, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(site.root, monkeypatch)


async def _goes_on(after: FilesystemSite, upload_id: str, offset: int) -> None:
    async with hall(await off_loop(after.open)) as here:
        assert (await here.uploads.status(upload_id, OWNER)).offset == offset
        rest = ScriptedBody.of(DATA[offset:])
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder, body=rest)
        assert await fetch(here.backend, DIGEST) == DATA


async def test_an_acknowledged_offset_survives(
    site: FilesystemSite, after: FilesystemSite, disk: Disk
) -> None:
    """What a PATCH was answered is there, record and bytes."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[: 9 * _MIB]))
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[9 * _MIB : 10 * _MIB]))
        await off_loop(disk.restore, upload_id, after.root)
    await _goes_on(after, upload_id, 10 * _MIB)


@pytest.mark.parametrize("every_bytes", [_MIB, 9 * _MIB])
async def test_a_long_append_goes_on_at_a_record_within_it(
    site: FilesystemSite,
    after: FilesystemSite,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    every_bytes: int,
) -> None:
    """Records on the way name only bytes that are on the disk, however few they are."""
    monkeypatch.setattr(session, "CHECKPOINT_BYTES", every_bytes)
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        body = ScriptedBody(DATA[: every_bytes + 6 * _MIB], asyncio.Event())
        async with asyncio.TaskGroup() as group:
            appending = group.create_task(here.uploads.append(upload_id, OWNER, body))
            await body.paused.wait()
            await until(lambda: disk.knows(upload_id))
            await off_loop(disk.restore, upload_id, after.root)
            appending.cancel()
    record = after.upload_path(upload_id) / "record"
    offset = json.loads(await off_loop(record.read_text))["offset"]
    assert offset >= every_bytes
    await _goes_on(after, upload_id, offset)


async def test_a_small_upload_is_there_a_moment_later(
    site: FilesystemSite, after: FilesystemSite, disk: Disk
) -> None:
    """Its client need not say another word, and may be gone."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
        await until(lambda: disk.knows(upload_id))
        await off_loop(disk.restore, upload_id, after.root)
    await _goes_on(after, upload_id, _MIB)


async def test_what_a_small_upload_appends_later_is_there_at_once(
    site: FilesystemSite, after: FilesystemSite, disk: Disk
) -> None:
    """No record may take the place of one that is on the disk before its bytes are there too."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
        await until(lambda: disk.knows(upload_id))
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[_MIB : _MIB + 77]))
        await off_loop(disk.restore, upload_id, after.root)
    await _goes_on(after, upload_id, _MIB + 77)


async def test_a_small_upload_that_changes_processes_is_there_a_moment_later(
    site: FilesystemSite, after: FilesystemSite, disk: Disk
) -> None:
    """Promise 5: whichever worker saved the last record."""
    async with hall(await off_loop(site.open)) as one, hall(await off_loop(site.open)) as other:
        upload_id = (await one.uploads.start(OWNER)).upload_id
        await one.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
        await other.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[_MIB : _MIB + 77]))
        await until(lambda: disk.knows(upload_id))
        await off_loop(disk.restore, upload_id, after.root)
    await _goes_on(after, upload_id, _MIB + 77)


async def test_a_small_upload_is_there_when_a_put_has_broken_off(
    site: FilesystemSite, after: FilesystemSite, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose writer left no record of its own; it was not disturbed."""
    monkeypatch.setattr(writer, "_SYNCED_AFTER_NS", 1)
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        body = ScriptedBody(DATA[_MIB : 2 * _MIB], asyncio.Event())
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
        async with asyncio.TaskGroup() as group:
            finishing = group.create_task(
                here.uploads.finish(upload_id, OWNER, DIGEST, here.holder, body=body)
            )
            await body.paused.wait()
            finishing.cancel()
        await until(lambda: disk.knows(upload_id))
        await off_loop(disk.restore, upload_id, after.root)
    await _goes_on(after, upload_id, _MIB)


async def test_a_small_upload_is_there_when_the_daemon_has_stopped(
    site: FilesystemSite, after: FilesystemSite, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would see to it afterwards."""
    monkeypatch.setattr(writer, "_SYNCED_AFTER_NS", 1 << 60)
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
    await off_loop(disk.restore, upload_id, after.root)
    await _goes_on(after, upload_id, _MIB)


async def test_a_small_upload_begins_anew_where_power_fails_at_once(
    site: FilesystemSite, after: FilesystemSite, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is not synced: every small push would pay for it. It is lost in the open."""
    monkeypatch.setattr(writer, "_SYNCED_AFTER_NS", 1 << 60)
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
        await off_loop(disk.restore, upload_id, after.root)
    async with hall(await off_loop(after.open)) as here:
        with pytest.raises(UploadUnknown):
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[_MIB:]))
        with suppress(UploadUnknown):
            await here.uploads.cancel(upload_id, OWNER)
