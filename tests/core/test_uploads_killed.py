"""Sessions whose writer was killed in the act, on the file system: found, hashed, gone on (5, B10).

A writer is killed here as the kernel does it to a process: descriptors close, nobody says goodbye.
Whole daemons are killed in `tests/crash`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from blobd import session as session_module
from blobd.config import Limits
from blobd.digest import Span
from blobd.durable import boot_id
from blobd.errors import BlobTooLarge, BodyBroken, OffsetMismatch, UploadOvertaken
from tests.backends.acts import SOON_S, digest_of, fetch, off_loop, until
from tests.backends.sites import FilesystemSite
from tests.core.hall import OWNER, hall
from tests.core.scripted import ScriptedBody

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from blobd.backends.filesystem.writer import FileStaging

DATA = random.Random(24).randbytes(200_000)
DIGEST = digest_of(DATA)
RECORDED, ARRIVED = 60_000, 140_000


@pytest.fixture
def site(tmp_path: Path) -> FilesystemSite:
    return FilesystemSite(tmp_path, durable=True)


@pytest.fixture
def opened_stagings(monkeypatch: pytest.MonkeyPatch) -> list[FileStaging]:
    """Every staging that a session gets."""
    opened: list[FileStaging] = []
    init = session_module.Session.__init__

    def note(self: object, staging: FileStaging, *arguments: object) -> None:
        opened.append(staging)
        init(self, staging, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(session_module.Session, "__init__", note)
    return opened


async def killed(
    site: FilesystemSite,
    opened: list[FileStaging],
    *,
    method: str = "PATCH",
    algorithm: str = "sha256",
    span: Span | None = None,
    length_bytes: int | None = None,
) -> str:
    """Record 60,000 bytes, then kill the writer when 140,000 have arrived; return the upload."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER, algorithm=algorithm)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[:RECORDED]))
        body = ScriptedBody(DATA[RECORDED:ARRIVED], asyncio.Event(), length_bytes=length_bytes)
        receiving: Awaitable[object]
        if method == "PATCH":
            receiving = here.uploads.append(upload_id, OWNER, body, span=span)
        else:
            receiving = here.uploads.finish(upload_id, OWNER, DIGEST, here.holder, body=body)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_of(receiving))
            await body.paused.wait()
            await until(lambda: opened[-1].offset == ARRIVED)
            status = await here.uploads.status(upload_id, OWNER)
            assert status.offset == RECORDED, "a living writer's unsaved bytes were counted"
            _close_as_the_kernel_does(opened[-1])
            task.cancel()
    return upload_id


async def _of(receiving: Awaitable[object]) -> None:
    await receiving


def _close_as_the_kernel_does(staging: FileStaging) -> None:
    fd, staging._fd = staging._fd, -1
    os.close(fd)
    staging._ownership.release()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "blake3"])
async def test_an_append_goes_on_at_the_exact_byte(
    site: FilesystemSite, opened_stagings: list[FileStaging], algorithm: str
) -> None:
    """Promise 5: what is not in the record is read once; all of it where no state is saved."""
    upload_id = await killed(site, opened_stagings, algorithm=algorithm)
    digest = digest_of(DATA, algorithm)
    async with hall(await off_loop(site.open)) as here:
        assert (await here.uploads.status(upload_id, OWNER)).offset == ARRIVED
        assert [upload.offset async for upload in here.uploads.open_uploads()] == [ARRIVED]
        assert here.sample("reread_bytes_total") == 0
        upload = await here.uploads.append(
            upload_id, OWNER, ScriptedBody.of(DATA[ARRIVED:]), span=Span(ARRIVED, len(DATA))
        )
        assert upload.offset == len(DATA)
        reread = ARRIVED if algorithm == "blake3" else ARRIVED - RECORDED
        assert here.sample("reread_bytes_total") == reread
        await here.uploads.finish(upload_id, OWNER, digest, here.holder)
        assert await fetch(here.backend, digest) == DATA


async def test_an_empty_put_takes_all_that_arrived(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """Promise 5: the digest of the record is not that of the bytes."""
    upload_id = await killed(site, opened_stagings)
    digest = digest_of(DATA[:ARRIVED])
    async with hall(await off_loop(site.open)) as here:
        await here.uploads.finish(upload_id, OWNER, digest, here.holder)
        assert await fetch(here.backend, digest) == DATA[:ARRIVED]


async def test_a_put_goes_on_and_back_to_where_it_stood(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """The state table: a PUT's body that breaks off leaves what was there before, the tail too."""
    upload_id = await killed(site, opened_stagings)
    async with hall(await off_loop(site.open)) as here:
        for _ in range(2):
            broken = ScriptedBody(DATA[ARRIVED:], BodyBroken(0))
            with pytest.raises(BodyBroken):
                await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder, body=broken)
            assert (await here.uploads.status(upload_id, OWNER)).offset == ARRIVED
        assert here.sample("reread_bytes_total") == ARRIVED - RECORDED
        rest = ScriptedBody.of(DATA[ARRIVED:])
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder, body=rest)
        assert await fetch(here.backend, DIGEST) == DATA


@pytest.mark.parametrize("what", ["a PUT", "a chunked body with a span"])
async def test_what_would_be_undone_is_undone_by_a_kill_too(
    site: FilesystemSite, opened_stagings: list[FileStaging], what: str
) -> None:
    """A body that nobody has seen the end of may contradict its digest or its span."""
    upload_id = await killed(
        site,
        opened_stagings,
        method="PUT" if what == "a PUT" else "PATCH",
        span=None if what == "a PUT" else Span(RECORDED, len(DATA)),
    )
    async with hall(await off_loop(site.open)) as here:
        assert (await here.uploads.status(upload_id, OWNER)).offset == RECORDED
        rest = ScriptedBody.of(DATA[RECORDED:])
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder, body=rest)
        assert await fetch(here.backend, DIGEST) == DATA
        assert here.sample("reread_bytes_total") == 0


async def test_after_a_reboot_it_goes_on_at_the_record(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """Section 5, Resume: what reached the file may not have reached the disk."""
    upload_id = await killed(site, opened_stagings)
    await off_loop(_edit_record, site.upload_path(upload_id), boot="another boot")
    async with hall(await off_loop(site.open)) as here:
        assert (await here.uploads.status(upload_id, OWNER)).offset == RECORDED
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[RECORDED:]))
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)
        assert await fetch(here.backend, DIGEST) == DATA
        assert here.sample("reread_bytes_total") == RECORDED


async def test_killed_again_after_a_reboot_it_goes_on_at_the_exact_byte(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """What was hashed again is recorded in the new boot, an empty upload too."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
    await off_loop(_edit_record, site.upload_path(upload_id), boot="another boot")
    async with hall(await off_loop(site.open)) as here:
        body = ScriptedBody(DATA[:ARRIVED], asyncio.Event())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(here.uploads.append(upload_id, OWNER, body))
            await body.paused.wait()
            await until(lambda: opened_stagings[-1].offset == ARRIVED)
            _close_as_the_kernel_does(opened_stagings[-1])
            task.cancel()
    async with hall(await off_loop(site.open)) as here:
        assert (await here.uploads.status(upload_id, OWNER)).offset == ARRIVED


async def test_a_folder_of_the_first_layout_goes_on_at_its_record(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """There, nothing said whether what lies beyond the record was a PUT's."""
    upload_id = await killed(site, opened_stagings)
    await off_loop(_edit_record, site.upload_path(upload_id), layout=1)
    async with hall(await off_loop(site.open)) as here:
        assert (await here.uploads.status(upload_id, OWNER)).offset == RECORDED
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[RECORDED:]))
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)


async def test_a_chunk_from_the_record_is_told_where_to_go_on(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """As for bytes saved by a request that broke off; and the tail is still there afterwards."""
    upload_id = await killed(site, opened_stagings)
    async with hall(await off_loop(site.open)) as here:
        for _ in range(2):
            with pytest.raises(OffsetMismatch) as caught:
                await here.uploads.append(
                    upload_id,
                    OWNER,
                    ScriptedBody.of(DATA[RECORDED:]),
                    span=Span(RECORDED, len(DATA)),
                )
            assert caught.value.offset == ARRIVED
            assert (await here.uploads.status(upload_id, OWNER)).offset == ARRIVED


async def test_the_size_limit_counts_what_a_killed_writer_left(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """Promise 8: announced or to the byte."""
    upload_id = await killed(site, opened_stagings)
    limits = Limits(min_free_bytes=0, max_blob_bytes=ARRIVED + 10)
    async with hall(await off_loop(site.open), limits=limits) as here:
        announced = ScriptedBody.of(b"x" * 11)
        with pytest.raises(BlobTooLarge):
            await here.uploads.append(upload_id, OWNER, announced)
        assert (await here.uploads.status(upload_id, OWNER)).offset == ARRIVED
        unannounced = ScriptedBody(b"x" * 11)
        with pytest.raises(BlobTooLarge):
            await here.uploads.append(upload_id, OWNER, unannounced)


async def test_a_living_writer_is_cut_where_its_record_stands(
    site: FilesystemSite, opened_stagings: list[FileStaging]
) -> None:
    """Promise 6: who takes over was told that offset, and starts there."""
    async with hall(await off_loop(site.open)) as here:
        upload_id = (await here.uploads.start(OWNER)).upload_id
        dead = ScriptedBody(b"?" * ARRIVED, asyncio.Event())

        async def overtaken() -> None:
            with pytest.raises(UploadOvertaken):
                await here.uploads.append(upload_id, OWNER, dead)

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(overtaken())
            await dead.paused.wait()
            await until(lambda: opened_stagings[-1].offset == ARRIVED)
            await here.uploads.append(
                upload_id, OWNER, ScriptedBody.of(DATA), span=Span(0, len(DATA))
            )
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)
        assert await fetch(here.backend, DIGEST) == DATA
        assert here.sample("reread_bytes_total") == 0


async def test_cancelled_while_it_reads_it_can_be_gone_on_with(
    site: FilesystemSite, opened_stagings: list[FileStaging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 9: a client that hangs up meanwhile, and comes again."""
    upload_id = await killed(site, opened_stagings)
    async with hall(await off_loop(site.open)) as here:
        read = type(opened_stagings[-1]).read

        async def stops(self: FileStaging, span: Span) -> object:
            async for piece in read(self, Span(span.start, span.start + 7)):
                yield piece
            await asyncio.Event().wait()

        monkeypatch.setattr(type(opened_stagings[-1]), "read", stops)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[ARRIVED:]))
        monkeypatch.setattr(type(opened_stagings[-1]), "read", read)
        assert (await here.uploads.status(upload_id, OWNER)).offset == ARRIVED
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[ARRIVED:]))
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)
        assert await fetch(here.backend, DIGEST) == DATA


def _edit_record(folder: Path, **facts: object) -> None:
    record = folder / "record"
    document = json.loads(record.read_text())
    assert document["boot"] == boot_id()
    record.write_text(json.dumps(document | facts))
