"""kill -9 between any two steps of a writer, and what the next one finds (B1 to B4, B6)."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blobd.digest import Span
from blobd.errors import UploadUnknown
from tests.backends.acts import digest_of, fetch, joined, listed, off_loop, staged
from tests.backends.dying_process import ABORTED, COMMITTED, OLD, PIECES, SAVED, UNDONE, WHOLE
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from blobd.backends.base import Backend, Record

TESTS = Path(__file__).parents[2]
GONE = (0, b"", False)
"""What is left in the middle of making or removing an upload: to be swept, by nobody's memo."""


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_crash_between_any_two_steps_keeps_every_promise(tmp_path: Path) -> None:
    """B1, B2, B3 (kill -9), B4, B6: one process killed before each of its changes, in turn."""
    site = FilesystemSite(tmp_path, durable=False)
    asyncio.run(site.open().aclose())
    lived = False
    step = 0
    while not lived:
        step += 1
        site.clear()
        process = start("tests.backends.dying_process", str(site.root), str(step))
        said, _ = process.communicate(timeout=60)
        lived = "lived" in said.split("\n")
        assert process.returncode == (0 if lived else -9)
        asyncio.run(_check(site, said.splitlines()))
    assert step > 30


async def _check(site: FilesystemSite, said: list[str]) -> None:
    """Check all that may be found after what a dead writer said."""
    backend = await off_loop(site.open)
    blobs = await off_loop(site.peek_blobs)
    for digest in blobs:
        stored = await off_loop(site.peek_blob, digest)
        assert stored is not None
        assert digest_of(stored) == digest
    assert set(await listed(backend)) == blobs
    assert digest_of(OLD) in blobs or "aborted" in said
    if "deleted" in said:
        assert digest_of(OLD) not in blobs
    if "committed" in said:
        assert await fetch(backend, digest_of(WHOLE)) == WHOLE
    found = {record.upload_id: record async for record in backend.stagings()}
    await _check_saved(backend, found.get(SAVED), said)
    await _check_committed(found.get(COMMITTED), said)
    _check_aborted(found.get(ABORTED), said)
    _check_undone(found.get(UNDONE), said)
    await backend.aclose()


def _facts(record: Record | None) -> tuple[int, bytes, bool] | None:
    if record is None:
        return None
    return record.offset, record.memo, record.committed is not None


async def _check_saved(backend: Backend, record: Record | None, said: list[str]) -> None:
    steps = [
        GONE,
        (0, b"0", False),
        (len(PIECES[0]), b"1", False),
        (len(PIECES[0] + PIECES[1]), b"2", False),
        (len(WHOLE), b"2", True),
    ]
    sayings = ["begun", "saved 1", "saved 2", "committed"]
    done = sum(saying in said for saying in sayings)
    facts = _facts(record)
    assert facts in steps[done : done + 2] or (done == 0 and facts is None)
    if record is None or record.committed is not None:
        with pytest.raises(UploadUnknown):
            await backend.stage(SAVED)
        return
    async with asyncio.timeout(2), staged(backend, SAVED) as staging:
        assert staging.offset == record.offset + record.tail_bytes
        assert await joined(staging.read(Span(0, staging.offset))) == WHOLE[: staging.offset]
        await staging.checkpoint(b"found")
        await staging.append([WHOLE[staging.offset :]])
        await staging.commit(digest_of(WHOLE))
    assert await fetch(backend, digest_of(WHOLE)) == WHOLE


async def _check_committed(record: Record | None, said: list[str]) -> None:
    facts = _facts(record)
    receipt = (len(WHOLE), b"again", True)
    if "forgotten" in said:
        assert facts is None
    elif "deleted" in said:
        assert facts in (receipt, GONE, None)
    elif "committed again" in said:
        assert facts == receipt
    else:
        assert facts in (None, GONE, (0, b"again", False), receipt)


def _check_aborted(record: Record | None, said: list[str]) -> None:
    facts = _facts(record)
    saved = (len(PIECES[0]), b"1", False)
    if "aborted" in said:
        assert facts is None
    elif "to be aborted" in said:
        assert facts in (saved, GONE, None)
    else:
        assert facts in (None, GONE, (0, b"0", False), saved)


def _check_undone(record: Record | None, said: list[str]) -> None:
    """B10: nothing of what a provisional writer appended is found beyond his record."""
    if record is None:
        return
    assert "undone" not in said
    assert record.tail_bytes == 0 or "to be undone" not in said
    saved = (len(PIECES[0]), b"1", False)
    if "to be undone" in said:
        assert _facts(record) in (saved, GONE)
    else:
        assert _facts(record) in (GONE, (0, b"0", False), saved)


@pytest.mark.long
def test_a_writer_killed_at_random_loses_nothing_it_was_told_of(tmp_path: Path) -> None:
    """B1 to B4: many uploads at once, killed at any instant, again and again on one folder."""
    chance = random.Random(os.urandom(8).hex())
    site = FilesystemSite(tmp_path, durable=False)
    committed: set[str] = set()
    saved: dict[str, int] = {}
    for _ in range(40):
        process = start("tests.backends.busy_process", str(tmp_path))
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 400)):
            _take_down(process.stdout.readline(), committed, saved)
        process.kill()
        said, _ = process.communicate(timeout=60)
        for line in said.splitlines(keepends=True):
            _take_down(line, committed, saved)
        asyncio.run(_check_busy(site, committed, saved))


def _take_down(line: str, committed: set[str], saved: dict[str, int]) -> None:
    """Note what a busy process said, unless it died in the middle of saying it."""
    if not line.endswith("\n"):
        return
    verb, upload_id, fact = line.split()
    if verb == "saved":
        saved[upload_id] = int(fact)
    else:
        saved.pop(upload_id, None)
    if verb == "committed":
        committed.add(fact)


async def _check_busy(site: FilesystemSite, committed: set[str], saved: dict[str, int]) -> None:
    backend = await off_loop(site.open)
    blobs = await off_loop(site.peek_blobs)
    assert committed <= {str(digest) for digest in blobs}
    for digest in blobs:
        stored = await off_loop(site.peek_blob, digest)
        assert stored is not None
        assert digest_of(stored) == digest
    for upload_id, offset in saved.items():
        record = await backend.peek(upload_id)
        if record.committed is not None:
            continue
        assert record.offset >= offset
        async with asyncio.timeout(2), staged(backend, upload_id) as staging:
            assert staging.offset == record.offset + record.tail_bytes
            data = await joined(staging.read(Span(0, staging.offset)))
            assert data == random.Random(upload_id).randbytes(200_000)[: staging.offset]
            await staging.abort()
    saved.clear()
    await backend.aclose()
