"""What wrappers add: numbers, refusals, and failures on demand.

That they change nothing else is `test_contract.py`'s to show.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.backends.memory import Memory
from blobd.backends.wrappers import Fault, Faulty, Metered, ReadOnly
from blobd.digest import Span
from blobd.errors import BackendUnavailable, BlobNotFound, StorageFull, StorageLost, UploadUnknown
from blobd.metrics import Metrics
from tests.backends.acts import (
    SOON_S,
    begin,
    digest_of,
    fetch,
    joined,
    listed,
    off_loop,
    read,
    staged,
    store,
)
from tests.backends.sites import FilesystemSite, MemorySite, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from blobd.backends.base import Backend

DATA = b"0123456789"
DIGEST = digest_of(DATA)


class ReadOnlyContract:
    """Reading works as on any backend; nothing changes."""

    @pytest.fixture
    async def backend(self, site: Site) -> AsyncIterator[Backend]:
        """A backend that can be written, to prepare what is then read."""
        inner = await off_loop(site.open)
        yield inner
        await inner.aclose()

    async def test_blobs_are_read_as_ever(self, backend: Backend) -> None:
        """B1: stat, open, list."""
        await store(backend, DATA)
        reader = ReadOnly(backend)
        assert await reader.stat(DIGEST) == 10
        assert await fetch(reader, DIGEST) == DATA
        assert await listed(reader) == [DIGEST]
        assert await listed(reader, after=DIGEST) == []
        with pytest.raises(BlobNotFound):
            await reader.open(digest_of(b"absent"))
        assert await reader.free_bytes() == await backend.free_bytes()

    async def test_uploads_are_seen_as_ever(self, backend: Backend) -> None:
        """peek, stagings."""
        upload_id = await begin(backend, b"memo")
        reader = ReadOnly(backend)
        assert (await reader.peek(upload_id)).memo == b"memo"
        assert [record.upload_id async for record in reader.stagings()] == [upload_id]
        with pytest.raises(UploadUnknown):
            await reader.peek("0" * 32)

    async def test_every_change_is_refused_for_the_time_being(
        self, backend: Backend, site: Site
    ) -> None:
        """ReadOnly: every changing verb raises BackendUnavailable, and changes nothing."""
        await store(backend, DATA)
        upload_id = await begin(backend)
        before = (await off_loop(site.peek_blobs), await off_loop(site.peek_uploads))
        reader = ReadOnly(backend)
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: reader.begin("1" * 32, b""),
            lambda: reader.stage(upload_id),
            lambda: reader.forget(upload_id),
            lambda: reader.delete(DIGEST),
            reader.probe,
        ]
        for change in changes:
            with pytest.raises(BackendUnavailable, match="read-only") as raised:
                await change()
            assert raised.value.retryable
        after = (await off_loop(site.peek_blobs), await off_loop(site.peek_uploads))
        assert after == before


class TestReadOnlyMemory(ReadOnlyContract):
    @pytest.fixture
    def site(self) -> Site:
        return MemorySite()


class TestReadOnlyFilesystem(ReadOnlyContract):
    @pytest.fixture
    def site(self, memory_path: Path) -> Site:
        return FilesystemSite(memory_path, durable=False)


class TestMetered:
    async def test_time_spent_writing_is_counted_and_time_reading_is_not(self) -> None:
        """metrics.py: write_seconds."""
        metrics = Metrics()
        slow = asyncio.Event()
        faults = [Fault(verb, stall=slow) for verb in ("append", "checkpoint", "commit", "open")]
        backend = Metered(Faulty(Memory(), faults), metrics)

        async def timed(call: Awaitable[object]) -> float:
            before = _written_s(metrics)
            slow.clear()
            loop = asyncio.get_running_loop()
            loop.call_later(0.02, slow.set)
            await call
            return _written_s(metrics) - before

        async with staged(backend) as staging:
            assert await timed(staging.append([DATA])) >= 0.02
            assert await timed(staging.checkpoint(b"")) >= 0.02
            assert await timed(staging.commit(DIGEST)) >= 0.02
        assert await timed(fetch(backend, DIGEST)) == 0

    async def test_a_failed_write_took_its_time_too(self) -> None:
        """metrics.py: write_seconds."""
        metrics = Metrics()
        backend = Metered(Faulty(Memory(), [Fault("append", error=StorageFull())]), metrics)
        async with staged(backend) as staging:
            before = _written_s(metrics)
            with pytest.raises(StorageFull):
                await staging.append([DATA])
            assert _written_s(metrics) > before


def _written_s(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("blobd_write_seconds_total") or 0.0


class TestFaulty:
    @pytest.mark.parametrize(
        ("verb", "call"),
        {
            "begin": lambda backend: backend.begin("1" * 32, b""),
            "stage": lambda backend: backend.stage("0" * 32),
            "peek": lambda backend: backend.peek("0" * 32),
            "forget": lambda backend: backend.forget("0" * 32),
            "stat": lambda backend: backend.stat(DIGEST),
            "open": lambda backend: backend.open(DIGEST),
            "delete": lambda backend: backend.delete(DIGEST),
            "blobs": listed,
            "stagings": lambda backend: anext(backend.stagings()),
            "free_bytes": lambda backend: backend.free_bytes(),
            "probe": lambda backend: backend.probe(),
        }.items(),
    )
    async def test_a_verb_fails_at_its_call_and_changes_nothing(
        self, verb: str, call: Callable[[Backend], Awaitable[object]]
    ) -> None:
        """Faulty: raises a given error at the n-th call of a verb."""
        site = MemorySite()
        inner = site.open()
        await store(inner, DATA)
        await inner.begin("0" * 32, b"")
        faulty = Faulty(inner, [Fault(verb, error=BackendUnavailable("told to"))])
        with pytest.raises(BackendUnavailable, match="told to"):
            await call(faulty)
        assert site.peek_blobs() == {DIGEST}
        assert "0" * 32 in site.peek_uploads()
        assert "1" * 32 not in site.peek_uploads()
        await call(faulty)
        assert faulty.calls[verb] == 2

    async def test_the_nth_call_counts_over_all_stagings(self) -> None:
        """Fault: the calls of all stagings are counted together."""
        backend = Faulty(Memory(), [Fault("checkpoint", call=3, error=StorageFull())])
        for number in range(3):
            async with staged(backend) as staging:
                if number < 2:
                    await staging.checkpoint(b"")
                else:
                    with pytest.raises(StorageFull):
                        await staging.checkpoint(b"")

    async def test_a_failed_append_stands_at_the_record_again(self) -> None:
        """append: after an error the offset is the record's, also where some was written."""
        faults = [
            Fault("append", call=2, error=StorageFull(), after_bytes=4),
            Fault("append", call=4, error=BackendUnavailable("no")),
        ]
        backend = Faulty(Memory(), faults)
        async with staged(backend) as staging:
            await staging.append([b"saved"])
            await staging.checkpoint(b"")
            with pytest.raises(StorageFull):
                await staging.append([b"cut short"])
            assert staging.offset == 5
            await staging.append([b", then"])
            with pytest.raises(BackendUnavailable):
                await staging.append([b"refused"])
            assert staging.offset == 5
            await staging.append([b"."])
            await staging.commit(digest_of(b"saved."))
        assert await fetch(backend, digest_of(b"saved.")) == b"saved."

    async def test_a_failed_commit_leaves_the_staging_unless_it_is_lost(self) -> None:
        """commit: StorageFull leaves it, StorageLost does not."""
        faults = [Fault("commit", error=StorageFull()), Fault("commit", 2, error=StorageLost())]
        site = MemorySite()
        backend = Faulty(site.open(), faults)
        async with staged(backend) as staging:
            await staging.append([DATA])
            with pytest.raises(StorageFull):
                await staging.commit(DIGEST)
            assert staging.offset == 10
            with pytest.raises(StorageLost):
                await staging.commit(DIGEST)
        assert site.peek_uploads() == set()
        assert site.peek_blobs() == set()

    @pytest.mark.parametrize("after_bytes", [0, 4, 9])
    async def test_a_source_can_end_too_early(self, after_bytes: int) -> None:
        """Fault: an opened stream yields `after_bytes`, then ends, or fails."""
        faults = [
            Fault("open", after_bytes=after_bytes),
            Fault("open", 2, after_bytes=after_bytes, error=BackendUnavailable("broke")),
        ]
        backend = Faulty(Memory(), faults)
        await store(backend, DATA)
        short = await backend.open(DIGEST)
        assert short.size_bytes == 10
        assert await read(short) == DATA[:after_bytes]
        broken = await backend.open(DIGEST)
        with pytest.raises(BackendUnavailable, match="broke"):
            await read(broken)
        assert await fetch(backend, DIGEST) == DATA

    async def test_staged_bytes_can_end_too_early(self) -> None:
        """Fault: so does a staging's `read`."""
        backend = Faulty(Memory(), [Fault("read", after_bytes=3)])
        async with staged(backend) as staging:
            await staging.append([DATA])
            assert await joined(staging.read(Span(0, 10))) == DATA[:3]
            assert await joined(staging.read(Span(0, 10))) == DATA

    async def test_a_call_can_be_made_to_wait(self) -> None:
        """Fault: the call waits for `stall`, then goes on as usual."""
        stall = asyncio.Event()
        backend = Faulty(Memory(), [Fault("commit", stall=stall)])
        async with staged(backend) as staging, asyncio.TaskGroup() as group:
            await staging.append([DATA])
            commit = group.create_task(staging.commit(DIGEST))
            with pytest.raises(BlobNotFound):
                await backend.stat(DIGEST)
            assert not commit.done()
            stall.set()
            async with asyncio.timeout(SOON_S):
                assert (await commit).digest == DIGEST
