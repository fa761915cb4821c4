"""Two processes on one folder: the lock is the kernel's, and kill -9 frees it (B5, B4)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blobd.digest import Span
from blobd.errors import BlobNotFound, UploadBusy, UploadOvertaken, UploadUnknown
from tests.backends.acts import (
    SOON_S,
    begin,
    digest_of,
    fetch,
    guarded_for_ever,
    joined,
    off_loop,
    staged,
    store,
)
from tests.backends.other_process import BLOCK_BYTES, BLOCKS, compete
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from blobd.backends.filesystem.backend import Filesystem

TESTS = Path(__file__).parents[2]


class Other:
    """The other process, spoken to line by line."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def answer(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(SOON_S):
            return (await self.process.stdout.readline()).decode().strip()

    def ask(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")

    async def do(self, command: str) -> str:
        self.ask(command)
        return await self.answer()

    async def die(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def other_process(root: Path) -> AsyncIterator[Other]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.backends.other_process",
        str(root),
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    other = Other(process)
    try:
        assert await other.answer() == "ready"
        yield other
    finally:
        if process.returncode is None:
            await other.die()


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


@pytest.fixture
async def other(site: FilesystemSite) -> AsyncIterator[Other]:
    async with other_process(site.root) as started:
        yield started


async def test_a_writer_here_is_overtaken_from_there(backend: Filesystem, other: Other) -> None:
    """B5: interrupted in its guard; its late append is refused; bytes never interleave."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([b"saved"])
        await staging.checkpoint(b"")
        await staging.append([b" lost"])
        other.ask(f"stage {upload_id}")
        with pytest.raises(UploadOvertaken):
            async with asyncio.timeout(SOON_S):
                await guarded_for_ever(staging, asyncio.Event())
        with pytest.raises(UploadOvertaken):
            await staging.append([b"late"])
    assert await other.answer() == "ok 5"
    with pytest.raises(UploadOvertaken):
        await staging.append([b"later"])
    with pytest.raises(UploadOvertaken):
        await staging.commit(digest_of(b"saved"))
    assert await other.do("append +theirs") == "ok 12"
    assert await other.do(f"commit {digest_of(b'saved+theirs')}") == "ok 12"
    assert await fetch(backend, digest_of(b"saved+theirs")) == b"saved+theirs"


@pytest.mark.parametrize("late", ["append late", "checkpoint late", "abort"])
async def test_a_writer_there_is_overtaken_from_here(
    backend: Filesystem, other: Other, late: str
) -> None:
    """B5: as above, the other way round."""
    upload_id = await begin(backend)
    assert await other.do(f"stage {upload_id}") == "ok 0"
    assert await other.do("append saved") == "ok 5"
    assert await other.do("checkpoint memo") == "ok 5"
    assert await other.do("append unsaved") == "ok 12"
    other.ask("guard")
    async with asyncio.TaskGroup() as group:
        successor = group.create_task(backend.stage(upload_id))
        assert (await other.answer()).startswith("UploadOvertaken")
        assert (await other.do(late)).startswith("UploadOvertaken")
        assert await other.do("close") == "ok 12"
    staging = successor.result()
    assert (staging.offset, staging.record.memo) == (5, b"memo")
    assert (await other.do(late)).startswith("UploadOvertaken")
    await staging.append([b"+ours"])
    await staging.commit(digest_of(b"saved+ours"))
    await staging.aclose()
    assert await fetch(backend, digest_of(b"saved+ours")) == b"saved+ours"


async def test_kill_9_frees_the_lock(backend: Filesystem, other: Other) -> None:
    """B5, B10: the successor starts at the dead writer's last byte, and waits for nobody."""
    upload_id = await begin(backend)
    await other.do(f"stage {upload_id}")
    await other.do("append saved")
    await other.do("checkpoint memo")
    await other.do("append unsaved")
    await other.die()
    async with staged(backend, upload_id) as staging:
        assert (staging.offset, staging.record.memo, staging.trusted) == (12, b"memo", True)
        assert (staging.record.offset, staging.record.tail_bytes) == (5, 7)
        await staging.append([b"."])
        assert await joined(staging.read(Span(0, 13))) == b"savedunsaved."


async def test_a_successor_that_dies_while_waiting_holds_nobody_up(
    backend: Filesystem, other: Other
) -> None:
    """B5: its claim takes the upload from the writer, and then counts no more."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        other.ask(f"stage {upload_id}")
        with pytest.raises(UploadOvertaken):
            await guarded_for_ever(staging, asyncio.Event())
        await other.die()
    async with staged(backend, upload_id) as staging:
        await staging.append([b"goes on"])
        await staging.commit(digest_of(b"goes on"))
    assert await fetch(backend, digest_of(b"goes on")) == b"goes on"


async def test_a_frozen_writer_makes_the_successor_busy_and_then_gives_up(
    backend: Filesystem, other: Other, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5: as a process does that is stopped, or waits for a dead disk."""
    site.shorten_takeover(monkeypatch, 0.3)
    upload_id = await begin(backend)
    await other.do(f"stage {upload_id}")
    await other.do("append unsaved")
    other.process.send_signal(signal.SIGSTOP)
    with pytest.raises(UploadBusy):
        await backend.stage(upload_id)
    other.process.send_signal(signal.SIGCONT)
    assert (await other.do("append more")).startswith("UploadOvertaken")
    await other.do("close")
    async with staged(backend, upload_id) as staging:
        assert staging.offset == 0


async def test_an_upload_finished_there_is_finished_here(backend: Filesystem, other: Other) -> None:
    """B1, words: receipts and removals are everybody's at once."""
    done, dropped = await begin(backend), await begin(backend)
    await other.do(f"stage {done}")
    await other.do("append data")
    await other.do(f"commit {digest_of(b'data')}")
    await other.do("close")
    assert (await backend.peek(done)).committed == digest_of(b"data")
    assert await fetch(backend, digest_of(b"data")) == b"data"
    await other.do(f"stage {dropped}")
    await other.do("abort")
    await other.do("close")
    with pytest.raises(UploadUnknown):
        await backend.peek(dropped)


async def test_writers_of_two_processes_never_interleave(backend: Filesystem, other: Other) -> None:
    """B5: any number of tasks of any number of processes, all after one upload."""
    upload_id = await begin(backend)
    other.ask(f"compete {upload_id} x 20")
    await asyncio.gather(
        *(compete(backend, upload_id, letter, 10) for letter in (b"a", b"b", b"c"))
    )
    assert (await other.answer()).startswith("ok")
    record = await backend.peek(upload_id)
    async with staged(backend, upload_id) as staging:
        data = await joined(staging.read(Span(0, staging.offset)))
    assert data
    assert len(data) % (BLOCK_BYTES * BLOCKS) == 0
    for start in range(0, len(data), BLOCK_BYTES * BLOCKS):
        assert len(set(data[start : start + BLOCK_BYTES * BLOCKS])) == 1
    assert data[-1:] == record.memo[:1]


async def test_one_digest_committed_and_deleted_by_two_processes_stays_whole(
    backend: Filesystem, other: Other, site: FilesystemSite
) -> None:
    """B1, B2, B7: readers see all of it or nothing."""
    text = "x" * 50_000
    digest = digest_of(text.encode())
    other.ask(f"store {text} 40")
    seen = 0
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(other.answer())
        while not answer.done():
            try:
                assert await fetch(backend, digest) == text.encode()
                seen += 1
                await backend.delete(digest)
            except BlobNotFound:
                await asyncio.sleep(0)
    assert answer.result().startswith("ok")
    assert seen > 0
    await store(backend, text.encode())
    assert await off_loop(site.peek_blobs) == {digest}
