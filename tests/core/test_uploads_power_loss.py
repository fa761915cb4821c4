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

    def restore(self, upload_id: str, to: Path) -> None:
        """Write what is left of an upload to the folder of another store, as after a restart."""
        uploads = self._root / "uploads"
        if upload_id not in self._names.get(uploads, {}):
            return
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
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.keeper, body=rest)
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


async def test_a_long_append_goes_on_at_a_record_within_it(
    site: FilesystemSite, after: FilesystemSite, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records on the way name only bytes that are on the disk."""
    monkeypatch.setattr(session, "CHECKPOINT_BYTES", 9 * _MIB)
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        body = ScriptedBody(DATA, asyncio.Event())
        async with asyncio.TaskGroup() as group:
            appending = group.create_task(here.uploads.append(upload_id, OWNER, body))
            await body.paused.wait()
            record = site.upload_path(upload_id) / "record"
            await until(lambda: json.loads(record.read_text())["offset"] >= 9 * _MIB)
            offset = json.loads(record.read_text())["offset"]
            await off_loop(disk.restore, upload_id, after.root)
            appending.cancel()
    assert 9 * _MIB <= offset < len(DATA)
    await _goes_on(after, upload_id, offset)


async def test_a_small_upload_begins_anew(
    site: FilesystemSite, after: FilesystemSite, disk: Disk
) -> None:
    """Its record is not synced: every small push would pay for it. It is lost in the open."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:_MIB]))
        await off_loop(disk.restore, upload_id, after.root)
    async with hall(await off_loop(after.open)) as here:
        with pytest.raises(UploadUnknown):
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[_MIB:]))
        with suppress(UploadUnknown):
            await here.uploads.cancel(upload_id, OWNER)
