"""Who asked later wins, also over one who still waits and has not noticed (B5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.backends.filesystem import backend as filesystem
from blobd.errors import UploadOvertaken
from tests.backends.acts import begin, off_loop, staged
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from pathlib import Path


async def test_who_still_waits_does_not_write_after_a_newer_one_has_written(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 6, B5: a dead connection's request that never got its turn does not get it later."""
    monkeypatch.setattr(filesystem, "_TAKEOVER_POLL_S", 0.5)
    site = FilesystemSite(memory_path, durable=False)
    backend = await off_loop(site.open)
    upload_id = await begin(backend)
    first = await backend.stage(upload_id)
    claim = memory_path / "uploads" / upload_id / "claim"

    async def wait_in_vain() -> None:
        with pytest.raises(UploadOvertaken):
            await backend.stage(upload_id)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_in_vain())
        while not await off_loop(claim.is_symlink):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await first.aclose()
        async with staged(backend, upload_id) as newer:
            await newer.append([b"newer"])
            await newer.checkpoint(b"")
        assert not waiting.done(), "it still waits"
    assert (await backend.peek(upload_id)).offset == len(b"newer")
    await backend.aclose()
