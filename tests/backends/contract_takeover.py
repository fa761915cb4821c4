"""The contract's take-over (B5): one writer per upload, and the newest asker wins."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from blobd.digest import Span
from blobd.errors import UploadBusy, UploadOvertaken, UploadUnknown
from tests.backends.acts import (
    SOON_S,
    begin,
    digest_of,
    fetch,
    guarded_for_ever,
    joined,
    off_loop,
    staged,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from blobd.backends.base import Backend, Staging
    from tests.backends.sites import Site

WRITES: dict[str, Callable[[Staging], Awaitable[object]]] = {
    "append": lambda staging: staging.append([b"late"]),
    "checkpoint": lambda staging: staging.checkpoint(b"late"),
    "commit": lambda staging: staging.commit(digest_of(b"saved")),
    "abort": lambda staging: staging.abort(),
}


async def saved(backend: Backend, data: bytes = b"saved") -> str:
    """Begin an upload and save some bytes."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([data])
        await staging.checkpoint(b"")
    return upload_id


async def until_overtaken(staging: Staging) -> None:
    """Wait until somebody else has asked for a writer's upload."""
    with suppress(UploadOvertaken):
        await guarded_for_ever(staging, asyncio.Event())


class TakeoverContract:
    """Promises about several who want to write one upload."""

    async def test_a_successor_interrupts_the_writer(self, backend: Backend) -> None:
        """B5, guard: whatever was being awaited; the record's offset is told."""
        upload_id = await saved(backend)
        told: list[int] = []
        waiting = asyncio.Event()

        async def old_writer() -> None:
            async with staged(backend, upload_id) as staging:
                await staging.append([b"unsaved"])
                with pytest.raises(UploadOvertaken) as raised:
                    await guarded_for_ever(staging, waiting)
                told.append(raised.value.offset)
                assert raised.value.upload_id == upload_id

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(old_writer())
            await waiting.wait()
            async with staged(backend, upload_id) as staging:
                assert told == [5]
                assert staging.offset == 5
                await staging.append([b"."])
                await staging.commit(digest_of(b"saved."))
        assert await fetch(backend, digest_of(b"saved.")) == b"saved."

    @pytest.mark.parametrize("verb", WRITES)
    async def test_a_writer_outside_its_guard_learns_at_its_next_call(
        self, backend: Backend, verb: str
    ) -> None:
        """B5: that writer's calls raise UploadOvertaken and change nothing."""
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            successor = group.create_task(backend.stage(upload_id))
            await until_overtaken(old)
            with pytest.raises(UploadOvertaken):
                await WRITES[verb](old)
            assert not successor.done()
            await old.aclose()
        new = successor.result()
        assert (new.offset, new.record.memo) == (5, b"")
        await new.aclose()
        assert (await backend.peek(upload_id)).committed is None

    @pytest.mark.parametrize("verb", WRITES)
    async def test_a_writer_that_let_go_writes_no_more(
        self, backend: Backend, site: Site, verb: str
    ) -> None:
        """B5, B2: late calls are refused while a successor writes."""
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        await old.append([b"unsaved"])
        await old.aclose()
        async with staged(backend, upload_id) as new:
            with pytest.raises(UploadOvertaken):
                await WRITES[verb](old)
            await new.append([b"."])
            await new.checkpoint(b"new")
            with pytest.raises(UploadOvertaken):
                await WRITES[verb](old)
            assert (await backend.peek(upload_id)).memo == b"new"
            assert await off_loop(site.peek_blobs) == set()
            await new.commit(digest_of(b"saved."))
        assert await fetch(backend, digest_of(b"saved.")) == b"saved."

    async def test_the_newest_of_many_wins(self, backend: Backend) -> None:
        """stage: UploadOvertaken when a still newer call won."""
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        ends: asyncio.Queue[str] = asyncio.Queue()

        async def successor(number: int) -> None:
            try:
                async with staged(backend, upload_id) as staging:
                    await staging.append([b"x"])
                    await staging.checkpoint(b"by %d" % number)
                    ends.put_nowait(f"{number} wrote")
            except UploadOvertaken:
                ends.put_nowait(f"{number} was overtaken")

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(successor(0))
            await until_overtaken(old)
            for number in range(1, 4):
                group.create_task(successor(number))
                assert await ends.get() == f"{number - 1} was overtaken"
            await old.aclose()
            assert await ends.get() == "3 wrote"
        record = await backend.peek(upload_id)
        assert (record.offset, record.memo) == (6, b"by 3")

    async def test_writers_who_let_go_at_once_never_interleave(self, backend: Backend) -> None:
        """B5: whoever wins, bytes are one writer's at a time."""
        upload_id = await begin(backend)

        async def writer(letter: bytes) -> None:
            for _ in range(5):
                try:
                    async with staged(backend, upload_id) as staging, staging.guard():
                        start = staging.offset
                        for _ in range(4):
                            await staging.append([letter * 250])
                        assert staging.offset == start + 1000
                        await staging.checkpoint(letter)
                except (UploadOvertaken, UploadBusy):
                    continue

        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*(writer(letter) for letter in (b"a", b"b", b"c", b"d")))
        async with staged(backend, upload_id) as staging:
            data = await joined(staging.read(Span(0, staging.offset)))
        assert data
        assert len(data) % 1000 == 0
        for start in range(0, len(data), 1000):
            assert len(set(data[start : start + 1000])) == 1

    async def test_a_writer_that_does_not_let_go_makes_the_successor_busy(
        self, backend: Backend, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """stage: UploadBusy; the upload is not lost by it."""
        site.shorten_takeover(monkeypatch, 0.2)
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        with pytest.raises(UploadBusy) as raised:
            await backend.stage(upload_id)
        assert (raised.value.upload_id, raised.value.retryable) == (upload_id, True)
        await old.aclose()
        async with staged(backend, upload_id) as staging:
            assert staging.offset == 5

    async def test_a_cancelled_successor_leaves_the_upload_free(self, backend: Backend) -> None:
        """B6: a stage that is cancelled while it waits holds nothing."""
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        async with asyncio.TaskGroup() as group:
            successor = group.create_task(backend.stage(upload_id))
            await until_overtaken(old)
            successor.cancel()
        assert successor.cancelled()
        await old.aclose()
        async with asyncio.timeout(SOON_S), staged(backend, upload_id) as staging:
            assert staging.offset == 5

    @pytest.mark.parametrize("end", ["commit", "abort"])
    async def test_a_successor_of_a_finished_upload_finds_nothing(
        self, backend: Backend, end: str
    ) -> None:
        """stage: UploadUnknown when the writer's last act ended the upload."""
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        if end == "commit":
            await old.commit(digest_of(b"saved"))
        else:
            await old.abort()

        async def successor() -> None:
            with pytest.raises(UploadUnknown):
                await backend.stage(upload_id)

        async with asyncio.timeout(SOON_S):
            await asyncio.gather(successor(), old.aclose())

    async def test_a_guard_that_nobody_disturbs_changes_nothing(self, backend: Backend) -> None:
        """guard: leaving it leaves nothing behind in the task."""
        task = asyncio.current_task()
        assert task is not None
        async with staged(backend) as staging:
            async with staging.guard():
                await staging.append([b"x"])
            with pytest.raises(ZeroDivisionError):
                async with staging.guard():
                    raise ZeroDivisionError
            async with staging.guard():
                await staging.append([b"y"])
            assert staging.offset == 2
        assert task.cancelling() == 0

    async def test_a_guard_passes_other_cancellations_on(self, backend: Backend) -> None:
        """guard: other cancellations pass unchanged; so do timeouts."""
        async with staged(backend) as staging:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), staging.guard():
                    await asyncio.Event().wait()
            with pytest.raises(TimeoutError):
                async with staging.guard(), asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            inside = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(guarded_for_ever(staging, inside))
                await inside.wait()
                task.cancel()
            assert task.cancelled()

    async def test_an_interrupted_task_is_no_longer_being_cancelled(self, backend: Backend) -> None:
        """guard: after UploadOvertaken the task can await again, under timeouts and groups."""
        upload_id = await saved(backend)
        inside = asyncio.Event()

        async def old_writer() -> None:
            task = asyncio.current_task()
            assert task is not None
            async with staged(backend, upload_id) as staging:
                with pytest.raises(UploadOvertaken):
                    await guarded_for_ever(staging, inside)
                assert task.cancelling() == 0
                async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            group.create_task(old_writer())
            await inside.wait()
            async with staged(backend, upload_id):
                pass

    async def test_a_guard_entered_too_late_is_left_at_once(self, backend: Backend) -> None:
        """guard: a request made before counts."""
        upload_id = await saved(backend)
        old = await backend.stage(upload_id)
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            successor = group.create_task(backend.stage(upload_id))
            await until_overtaken(old)
            with pytest.raises(UploadOvertaken):
                await guarded_for_ever(old, asyncio.Event())
            await old.aclose()
        await successor.result().aclose()
