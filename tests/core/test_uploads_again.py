"""Sessions over interruptions: take-over, restart, reboot, expiry, cancellation (5, 6, 9)."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from blobd import session as session_module
from blobd.backends.memory import Memory
from blobd.backends.wrappers import Fault, Faulty
from blobd.durable import boot_id
from blobd.errors import BlobNotFound, StorageFull, UploadOvertaken, UploadUnknown
from blobd.hashing import Hashing
from tests.backends.acts import SOON_S, digest_of, fetch, listed, off_loop, until
from tests.backends.sites import FilesystemSite, MemorySite, Site
from tests.cancellation import cancel_at_each_checkpoint
from tests.core.hall import OWNER, Hall, hall
from tests.core.scripted import ScriptedBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Call = Callable[[], Awaitable[object]]

DATA = random.Random(15).randbytes(200_000)
DIGEST = digest_of(DATA)


@pytest.fixture(params=["memory", "filesystem"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "memory":
        return MemorySite()
    return FilesystemSite(tmp_path, durable=True)


@pytest.fixture
async def here(site: Site) -> AsyncIterator[Hall]:
    async with hall(await off_loop(site.open)) as opened:
        yield opened


async def begun(opened: Hall, data: bytes = b"", algorithm: str = "sha256") -> str:
    upload_id = (await opened.uploads.start(OWNER, algorithm=algorithm)).upload_id
    if data:
        await opened.uploads.append(upload_id, OWNER, ScriptedBody.of(data))
    return upload_id


async def overtaken(opened: Hall, upload_id: str, body: ScriptedBody) -> None:
    """Append until somebody else takes the upload."""
    with pytest.raises(UploadOvertaken):
        await opened.uploads.append(upload_id, OWNER, body)


class TestTakeover:
    async def test_a_client_that_comes_back_goes_on_at_once(self, here: Hall) -> None:
        """Promise 6: its dead connection cannot write any more; bytes never interleave."""
        upload_id = await begun(here, DATA[:1000])
        dead = ScriptedBody(b"bytes of the dead connection", asyncio.Event())
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(overtaken(here, upload_id, dead))
            await dead.paused.wait()
            assert (await here.uploads.status(upload_id, OWNER)).offset == 1000
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[1000:]))
        await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)
        assert await fetch(here.backend, DIGEST) == DATA
        assert here.sample("upload_takeovers_total") == 1
        assert here.sample("reread_bytes_total") == 0

    async def test_a_put_takes_over_too(self, here: Hall) -> None:
        """Section 5, Take-over: PATCH, PUT and DELETE take over."""
        upload_id = await begun(here, DATA)
        dead = ScriptedBody(asyncio.Event())
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(overtaken(here, upload_id, dead))
            await dead.paused.wait()
            await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)
        assert await fetch(here.backend, DIGEST) == DATA

    async def test_a_delete_takes_over_too(self, here: Hall) -> None:
        """Section 5, Take-over."""
        upload_id = await begun(here, DATA)
        dead = ScriptedBody(asyncio.Event())
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(overtaken(here, upload_id, dead))
            await dead.paused.wait()
            await here.uploads.cancel(upload_id, OWNER)
        with pytest.raises(UploadUnknown):
            await here.uploads.status(upload_id, OWNER)

    async def test_looking_never_disturbs_a_writer(self, here: Hall) -> None:
        """Section 5, Take-over: GET and HEAD report the last saved offset."""
        upload_id = await begun(here, DATA[:1000])
        pause = asyncio.Event()
        body = ScriptedBody(DATA[1000:2000], pause, DATA[2000:])
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            patch = group.create_task(here.uploads.append(upload_id, OWNER, body))
            await body.paused.wait()
            for _ in range(20):
                assert (await here.uploads.status(upload_id, OWNER)).offset == 1000
            found = [upload async for upload in here.uploads.open_uploads()]
            assert [upload.upload_id for upload in found] == [upload_id]
            assert await here.uploads.expire() == []
            pause.set()
        assert patch.result().offset == len(DATA)

    async def test_nobody_waits_for_a_session_that_is_being_read_again(self) -> None:
        """Promise 6: a take-over interrupts whatever its writer is at."""
        stall = asyncio.Event()
        backend = Faulty(Memory(), [Fault("read", stall=stall)])
        async with hall(backend, hashing=Hashing(saved_states=False)) as here:
            upload_id = await begun(here, DATA[:1000])
            async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
                group.create_task(overtaken(here, upload_id, ScriptedBody.of(b"dead")))
                await until(lambda: backend.calls["read"] == 1)
                await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[1000:]))
            await here.uploads.finish(upload_id, OWNER, DIGEST, here.holder)


class TestCancelling:
    async def test_a_cancelled_session_is_gone(self, here: Hall, site: Site) -> None:
        """Section 7: 404 afterwards; every byte removed, and counted as discarded."""
        upload_id = await begun(here, DATA)
        await here.uploads.cancel(upload_id, OWNER)
        with pytest.raises(UploadUnknown):
            await here.uploads.cancel(upload_id, OWNER)
        with pytest.raises(UploadUnknown):
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"x"))
        assert await off_loop(site.peek_uploads) == set()
        assert here.sample("discarded_bytes_total") == len(DATA)
        assert here.sample("uploads_total", outcome="cancelled") == 1


class TestExpiry:
    async def test_abandoned_and_overdue_sessions_are_removed_and_others_stay(
        self, here: Hall, site: Site
    ) -> None:
        """expire: idle for a day, or past the time limit; receipts after an hour."""
        old = await begun(here, DATA)
        here.clock.ahead_s += 700
        young = await begun(here, DATA[:5])
        done = await begun(here, DATA)
        await here.uploads.finish(done, OWNER, DIGEST, here.holder)
        assert await here.uploads.expire() == [old]
        assert await off_loop(site.peek_uploads) == {young, done}
        assert here.sample("staged_bytes") == 5
        assert here.sample("expired_uploads_total") == 1
        assert here.sample("uploads_total", outcome="expired") == 1
        assert await here.uploads.expire() == []
        here.clock.ahead_s += 5000
        assert await here.uploads.expire() == [young]
        assert await off_loop(site.peek_uploads) == set()

    async def test_what_a_crash_half_made_or_half_removed_is_swept_after_a_day(
        self, here: Hall, site: Site
    ) -> None:
        """expire: a memo that is none of ours, touched by nobody."""
        await here.backend.begin("1" * 32, b"")
        here.clock.ahead_s += 80_000
        assert await here.uploads.expire() == []
        here.clock.ahead_s += 10_000
        assert await here.uploads.expire() == ["1" * 32]
        assert await off_loop(site.peek_uploads) == set()

    async def test_an_idle_session_without_a_time_limit_is_removed_after_a_day(self) -> None:
        """Section 7: 0 switches it off; then `upload_idle_expiry_s`."""
        from blobd.config import Limits

        async with hall(limits=Limits(min_free_bytes=0, upload_timeout_s=0)) as here:
            upload_id = await begun(here, DATA)
            here.clock.ahead_s += 86_000
            assert await here.uploads.expire() == []
            here.clock.ahead_s += 1000
            assert await here.uploads.expire() == [upload_id]

    async def test_two_sweeps_at_once_remove_a_session_once(self, here: Hall) -> None:
        """expire: several processes may run this at once."""
        upload_ids = {await begun(here, b"x") for _ in range(5)}
        here.clock.ahead_s += 10_000
        ended = await asyncio.gather(*(here.uploads.expire() for _ in range(3)))
        assert set().union(*ended) == upload_ids
        assert [upload async for upload in here.uploads.open_uploads()] == []


class TestRestart:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512", "blake3"])
    async def test_another_process_goes_on_and_reads_only_what_it_must(
        self, tmp_path: Path, algorithm: str
    ) -> None:
        """Promise 5: an acknowledged offset survives; sha2 goes on from its saved state."""
        site = FilesystemSite(tmp_path, durable=True)
        digest = digest_of(DATA, algorithm)
        async with hall(await off_loop(site.open)) as first:
            upload_id = await begun(first, DATA[:150_000], algorithm)
        async with hall(await off_loop(site.open)) as second:
            assert (await second.uploads.status(upload_id, OWNER)).offset == 150_000
            await second.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[150_000:]))
            reread = second.sample("reread_bytes_total")
            assert reread == (150_000 if algorithm == "blake3" else 0)
        async with hall(await off_loop(site.open)) as third:
            await third.uploads.finish(upload_id, OWNER, digest, third.holder)
            assert third.sample("reread_bytes_total") == 0
            assert await fetch(third.backend, digest) == DATA

    async def test_a_worker_without_states_goes_on_where_one_with_them_stood(
        self, tmp_path: Path
    ) -> None:
        """Section 5, Resume: where it is missing, read again; and back."""
        site = FilesystemSite(tmp_path, durable=True)
        async with hall(await off_loop(site.open)) as first:
            upload_id = await begun(first, DATA[:50_000])
        plain = Hashing(saved_states=False)
        async with hall(await off_loop(site.open), hashing=plain) as second:
            await second.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[50_000:100_000]))
            assert second.sample("reread_bytes_total") == 50_000
        async with hall(await off_loop(site.open)) as third:
            await third.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[100_000:]))
            assert third.sample("reread_bytes_total") == 100_000
            await third.uploads.finish(upload_id, OWNER, DIGEST, third.holder)
            assert await fetch(third.backend, DIGEST) == DATA

    @pytest.mark.parametrize("whole", [True, False], ids=["whole", "damaged"])
    async def test_after_a_reboot_staged_bytes_are_hashed_before_they_are_trusted(
        self, tmp_path: Path, whole: bool
    ) -> None:
        """Section 5, Resume: the boot id; what is damaged is gone, and never a blob."""
        site = FilesystemSite(tmp_path, durable=True)
        async with hall(await off_loop(site.open)) as first:
            upload_id = await begun(first, DATA)
        folder = site.upload_path(upload_id)
        await off_loop(_reboot, folder / "record")
        if not whole:
            await off_loop((folder / "bytes").write_bytes, DATA[:-1] + b"?")
        async with hall(await off_loop(site.open)) as second:
            finish = second.uploads.finish(upload_id, OWNER, DIGEST, second.holder)
            if whole:
                await finish
                assert await fetch(second.backend, DIGEST) == DATA
            else:
                with pytest.raises(UploadUnknown):
                    await finish
                assert await listed(second.backend) == []
                assert second.sample("uploads_total", outcome="lost") == 1
            assert second.sample("reread_bytes_total") == len(DATA)


def _reboot(record: Path) -> None:
    """Make a record look as if the machine had been started anew since."""
    record.write_text(record.read_text().replace(boot_id(), "another boot"))


class TestCancellation:
    """Promise 9: cancelled at every await, a session can be gone on with and is right in the end.

    This is what a client that hangs up does to a request.
    """

    async def go_on(self, opened: Hall, upload_id: str) -> None:
        """Continue where the session says it stands, and finish it."""
        offset = (await opened.uploads.status(upload_id, OWNER)).offset
        async with asyncio.timeout(SOON_S):
            await opened.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[offset:]))
            await opened.uploads.finish(upload_id, OWNER, DIGEST, opened.holder)
        assert await fetch(opened.backend, DIGEST) == DATA

    @pytest.mark.parametrize("size_bytes", [10_000, 180_000])
    async def test_an_append_cancelled_anywhere(self, site: Site, size_bytes: int) -> None:
        """Promise 9, append: what arrived stays, and the hash goes with it."""

        @asynccontextmanager
        async def appending() -> AsyncIterator[Call]:
            await off_loop(site.clear)
            async with hall(await off_loop(site.open)) as opened:
                upload_id = await begun(opened, DATA[:100])
                body = ScriptedBody.of(DATA[100:size_bytes], announced=size_bytes > 10_000)
                yield lambda: opened.uploads.append(upload_id, OWNER, body)
                assert (await opened.uploads.status(upload_id, OWNER)).offset >= 100
                await self.go_on(opened, upload_id)

        assert await cancel_at_each_checkpoint(appending) > 2

    async def test_an_append_cancelled_while_its_backend_fails(self) -> None:
        """Promise 1, 9: bytes that an append took back are not in the hash that is saved."""
        stall = asyncio.Event()
        fault = Fault("append", 2, stall=stall, error=StorageFull())
        async with hall(Faulty(Memory(), [fault])) as here:
            upload_id = await begun(here, DATA[:100])
            async with asyncio.TaskGroup() as group:
                body = ScriptedBody.of(DATA[100:300])
                patch = group.create_task(here.uploads.append(upload_id, OWNER, body))
                await until(lambda: body.taken_bytes == 200)
                patch.cancel()
                stall.set()
            assert (await here.uploads.status(upload_id, OWNER)).offset == 100
            await self.go_on(here, upload_id)

    async def test_a_finish_with_a_body_cancelled_anywhere(self, site: Site) -> None:
        """Promise 9, finish: held, or as before; never half."""

        @asynccontextmanager
        async def finishing() -> AsyncIterator[Call]:
            await off_loop(site.clear)
            async with hall(await off_loop(site.open)) as opened:
                upload_id = await begun(opened, DATA[:100])
                body = ScriptedBody.of(DATA[100:])

                async def call() -> None:
                    await opened.uploads.finish(upload_id, OWNER, DIGEST, opened.holder, body=body)

                yield call
                if DIGEST in opened.holder.held:
                    assert await fetch(opened.backend, DIGEST) == DATA
                elif (await opened.backend.peek(upload_id)).committed is None:
                    with pytest.raises(BlobNotFound):
                        await opened.store.stat(DIGEST)
                    assert (await opened.uploads.status(upload_id, OWNER)).offset == 100
                    await self.go_on(opened, upload_id)
                await opened.uploads.finish(upload_id, OWNER, DIGEST, opened.holder)
                assert opened.holder.held == {DIGEST: len(DATA)}

        assert await cancel_at_each_checkpoint(finishing) > 3

    async def test_a_cancel_cancelled_anywhere(self, site: Site) -> None:
        """Promise 9, cancel: gone, or as before."""

        @asynccontextmanager
        async def cancelling() -> AsyncIterator[Call]:
            await off_loop(site.clear)
            async with hall(await off_loop(site.open)) as opened:
                upload_id = await begun(opened, DATA[:100])
                yield lambda: opened.uploads.cancel(upload_id, OWNER)
                if upload_id in await off_loop(site.peek_uploads):
                    await self.go_on(opened, upload_id)

        assert await cancel_at_each_checkpoint(cancelling) > 0

    async def test_a_start_cancelled_anywhere(self, site: Site) -> None:
        """Promise 9, start: what nobody knows of is swept in time."""

        @asynccontextmanager
        async def starting() -> AsyncIterator[Call]:
            await off_loop(site.clear)
            async with hall(await off_loop(site.open)) as opened:
                yield lambda: opened.uploads.start(OWNER)
                opened.clock.ahead_s += 100_000
                await opened.uploads.expire()
                assert await off_loop(site.peek_uploads) == set()

        assert await cancel_at_each_checkpoint(starting) > 0

    async def test_a_long_patch_cancelled_anywhere_between_its_records(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Promise 9: with records saved on the way."""
        monkeypatch.setattr(session_module, "CHECKPOINT_BYTES", 1)

        @asynccontextmanager
        async def appending() -> AsyncIterator[Call]:
            await off_loop(site.clear)
            async with hall(await off_loop(site.open)) as opened:
                upload_id = await begun(opened)
                pauses = [asyncio.Event() for _ in range(3)]
                for pause in pauses:
                    pause.set()
                body = ScriptedBody(
                    DATA[:5000], pauses[0], DATA[5000:70_000], pauses[1], DATA[70_000:150_000]
                )
                yield lambda: opened.uploads.append(upload_id, OWNER, body)
                await self.go_on(opened, upload_id)

        assert await cancel_at_each_checkpoint(appending) > 2
