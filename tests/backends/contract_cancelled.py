"""The contract under cancellation (B6): every call, cancelled at every await it has."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from blobd.errors import BlobNotFound, UploadOvertaken, UploadUnknown
from tests.backends.acts import begin, digest_of, fetch, guarded_for_ever, off_loop, staged, store
from tests.cancellation import cancel_at_each_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from blobd.backends.base import Backend
    from tests.backends.sites import Site

    Call = Callable[[], Awaitable[object]]

SAVED = b"saved"
MORE = random.Random(10).randbytes(300_000)


@asynccontextmanager
async def opened(site: Site) -> AsyncIterator[Backend]:
    """Open a backend for one run of a scenario; nothing of it may be left afterwards."""
    await off_loop(site.clear)
    backend = await off_loop(site.open)
    try:
        yield backend
    finally:
        await backend.aclose()
        assert await off_loop(site.leftovers) == []


async def save(backend: Backend) -> str:
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([SAVED])
        await staging.checkpoint(b"saved")
    return upload_id


async def assert_continues(backend: Backend, upload_id: str, *, offset: int) -> None:
    """Check that an upload is open at an offset, free to be written, and can be finished."""
    async with asyncio.timeout(2), staged(backend, upload_id) as staging:
        assert staging.offset == offset
        await staging.append([b"."])
        whole = (SAVED + MORE)[:offset] + b"."
        await staging.commit(digest_of(whole))
    assert await fetch(backend, digest_of(whole)) == whole


class CancelledContract:
    """Promises about calls that are cancelled anywhere."""

    async def test_a_cancelled_begin_leaves_an_upload_or_none(self, site: Site) -> None:
        """B6, begin."""
        upload_id = "c" * 32

        @asynccontextmanager
        async def beginning() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                yield lambda: backend.begin(upload_id, b"memo")
                try:
                    staging = await backend.stage(upload_id)
                except UploadUnknown:
                    return
                assert staging.record.memo == b"memo"
                await staging.abort()
                await staging.aclose()

        assert await cancel_at_each_checkpoint(beginning) > 0

    async def test_a_cancelled_stage_holds_no_lock(self, site: Site) -> None:
        """B6, stage: of an upload that is free."""

        @asynccontextmanager
        async def staging() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                upload_id = await save(backend)

                async def call() -> None:
                    await (await backend.stage(upload_id)).aclose()

                yield call
                await assert_continues(backend, upload_id, offset=5)

        assert await cancel_at_each_checkpoint(staging) > 0

    async def test_a_cancelled_takeover_holds_no_lock(self, site: Site) -> None:
        """B6, stage: while it waits for a writer who lets go."""

        @asynccontextmanager
        async def taking_over() -> AsyncIterator[Call]:
            async with opened(site) as backend, asyncio.TaskGroup() as group:
                upload_id = await save(backend)
                writing = asyncio.Event()

                async def old_writer() -> None:
                    async with staged(backend, upload_id) as old:
                        with pytest.raises(UploadOvertaken):
                            await guarded_for_ever(old, writing)

                async def call() -> None:
                    await (await backend.stage(upload_id)).aclose()

                old_task = group.create_task(old_writer())
                await writing.wait()
                yield call
                if not old_task.done():
                    async with staged(backend, upload_id):
                        pass
                await assert_continues(backend, upload_id, offset=5)

        assert await cancel_at_each_checkpoint(taking_over) > 0

    async def test_a_cancelled_append_wrote_all_or_stands_at_the_record(self, site: Site) -> None:
        """B6, append; and its buffer is free again at once."""

        @asynccontextmanager
        async def appending() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                upload_id = await save(backend)
                buffer = bytearray(MORE[10:])
                async with staged(backend, upload_id) as staging:
                    await staging.append([MORE[:10]])
                    yield lambda: staging.append([memoryview(buffer)])
                    buffer[:] = b"?" * len(buffer)
                    offset = staging.offset
                    assert offset in (5, 5 + len(MORE))
                    assert staging.record.offset == 5
                    await staging.checkpoint(b"")
                await assert_continues(backend, upload_id, offset=offset)

        cancelled = await cancel_at_each_checkpoint(appending)
        assert (cancelled > 0) is site.appends_wait

    async def test_a_cancelled_checkpoint_saved_or_did_not(self, site: Site) -> None:
        """B6, checkpoint: what the staging says is what storage says."""

        @asynccontextmanager
        async def saving() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                upload_id = await save(backend)
                async with staged(backend, upload_id) as staging:
                    await staging.append([MORE])
                    yield lambda: staging.checkpoint(b"more")
                    told = staging.record
                peeked = await backend.peek(upload_id)
                assert (peeked.offset, peeked.memo) == (told.offset, told.memo)
                assert (told.offset, told.memo) in ((5, b"saved"), (5 + len(MORE), b"more"))
                await assert_continues(backend, upload_id, offset=told.offset)

        assert await cancel_at_each_checkpoint(saving) > 0

    async def test_a_cancelled_commit_published_or_did_not(self, site: Site) -> None:
        """B6, B2, commit; said again on the same staging it succeeds."""
        digest = digest_of(SAVED + MORE)

        @asynccontextmanager
        async def committing() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                upload_id = await save(backend)
                async with staged(backend, upload_id) as staging:
                    await staging.append([MORE])
                    yield lambda: staging.commit(digest)
                    published = (await backend.peek(upload_id)).committed
                    if published is None:
                        with pytest.raises(BlobNotFound):
                            await backend.stat(digest)
                    else:
                        assert await fetch(backend, digest) == SAVED + MORE
                    assert (await staging.commit(digest)).size_bytes == 5 + len(MORE)
                assert await fetch(backend, digest) == SAVED + MORE
                assert (await backend.peek(upload_id)).committed == digest

        assert await cancel_at_each_checkpoint(committing) > 0

    async def test_after_a_cancelled_commit_a_successor_goes_on_or_finds_a_receipt(
        self, site: Site
    ) -> None:
        """B6, B4, commit: cancelled and let go, as when a client hangs up."""
        digest = digest_of(SAVED + MORE)

        @asynccontextmanager
        async def committing() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                upload_id = await save(backend)

                async def call() -> None:
                    async with staged(backend, upload_id) as staging:
                        await staging.append([MORE])
                        await staging.commit(digest)

                yield call
                if (await backend.peek(upload_id)).committed == digest:
                    assert await fetch(backend, digest) == SAVED + MORE
                else:
                    assert await off_loop(site.peek_blobs) == set()
                    await assert_continues(backend, upload_id, offset=5)

        assert await cancel_at_each_checkpoint(committing) > 0

    async def test_a_cancelled_abort_removed_all_or_nothing(self, site: Site) -> None:
        """B6, abort; said again it removes what is left."""

        @asynccontextmanager
        async def aborting() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                upload_id = await save(backend)
                async with staged(backend, upload_id) as staging:
                    yield staging.abort
                    gone = upload_id not in await off_loop(site.peek_uploads)
                    if not gone:
                        assert (await backend.peek(upload_id)).offset == 5
                        await staging.abort()
                assert upload_id not in await off_loop(site.peek_uploads)

        assert await cancel_at_each_checkpoint(aborting) > 0

    async def test_a_cancelled_open_leaves_nothing_open(self, site: Site) -> None:
        """B6, open."""

        @asynccontextmanager
        async def opening() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                digest = await store(backend, MORE)

                async def call() -> None:
                    await (await backend.open(digest)).aclose()

                yield call
                assert await fetch(backend, digest) == MORE

        assert await cancel_at_each_checkpoint(opening) > 0

    async def test_a_cancelled_delete_deleted_or_did_not(self, site: Site) -> None:
        """B6, B2, delete."""

        @asynccontextmanager
        async def deleting() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                digest = await store(backend, MORE)
                yield lambda: backend.delete(digest)
                if await off_loop(site.peek_blob, digest) is None:
                    with pytest.raises(BlobNotFound):
                        await backend.stat(digest)
                else:
                    assert await fetch(backend, digest) == MORE

        assert await cancel_at_each_checkpoint(deleting) > 0

    async def test_cancelled_looks_leave_nothing_open(self, site: Site) -> None:
        """B6: stagings, peek, stat, forget, probe."""

        @asynccontextmanager
        async def looking() -> AsyncIterator[Call]:
            async with opened(site) as backend:
                digest = await store(backend, SAVED)
                upload_id = await save(backend)

                async def call() -> None:
                    await backend.stat(digest)
                    await backend.peek(upload_id)
                    await backend.forget(upload_id)
                    await backend.free_bytes()
                    await backend.probe()
                    async for _ in backend.stagings():
                        pass

                yield call
                assert await fetch(backend, digest) == SAVED
                await assert_continues(backend, upload_id, offset=5)

        assert await cancel_at_each_checkpoint(looking) > 0
