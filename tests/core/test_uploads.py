"""Upload sessions: starting, appending, status, limits; the state table of `uploads.py`."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from blobd import session as session_module
from blobd.backends.memory import Memory
from blobd.backends.wrappers import Fault, Faulty
from blobd.config import Limits
from blobd.digest import Span
from blobd.errors import (
    BlobTooLarge,
    BodyBroken,
    BodyIdle,
    BodyMalformed,
    BudgetExhausted,
    DigestUnsupported,
    OffsetMismatch,
    SizeMismatch,
    StorageFull,
    TooManyUploads,
    UploadExpired,
    UploadUnknown,
)
from tests.backends.acts import SOON_S, digest_of, fetch, until
from tests.core.hall import OWNER, Clock, Hall, hall
from tests.core.scripted import ScriptedBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = random.Random(13).randbytes(700_000)
FRESH = Limits(min_free_bytes=0)


@pytest.fixture
async def here() -> AsyncIterator[Hall]:
    async with hall() as opened:
        yield opened


async def finished(opened: Hall, upload_id: str, data: bytes) -> None:
    """Finish a session without a body and check that it became these bytes."""
    digest = digest_of(data)
    committed = await opened.uploads.finish(upload_id, OWNER, digest, opened.holder)
    assert (committed.digest, committed.size_bytes) == (digest, len(data))
    assert await fetch(opened.backend, digest) == data
    assert opened.holder.held[digest] == len(data)


async def gone(opened: Hall, upload_id: str) -> bool:
    return upload_id not in {record.upload_id async for record in opened.backend.stagings()}


@dataclass
class Cramped(Memory):
    """Memory with an end."""

    free: int | None = None

    def __post_init__(self) -> None:
        super().__init__()

    async def free_bytes(self) -> int | None:
        return self.free


class TestStart:
    async def test_a_session_starts_empty(self, here: Hall) -> None:
        """start: an open session, of an id that nobody guesses."""
        started = await here.uploads.start(OWNER)
        assert (started.offset, started.algorithm, started.owner) == (0, "sha256", OWNER)
        assert len(started.upload_id) == 32
        assert abs(started.created_at - here.clock()) < 60
        assert await here.uploads.status(started.upload_id, OWNER) == started
        assert (await here.uploads.start(OWNER)).upload_id != started.upload_id

    async def test_an_unsupported_algorithm_is_refused_where_it_is_announced(
        self, here: Hall
    ) -> None:
        """Section 7: unsupported algorithm, at POST; nothing has begun."""
        with pytest.raises(DigestUnsupported):
            await here.uploads.start(OWNER, algorithm="md5")
        assert [record async for record in here.backend.stagings()] == []

    async def test_an_announced_size_over_the_limit_is_refused(self) -> None:
        """Promise 8; section 7: 413 before any byte."""
        async with hall(limits=Limits(min_free_bytes=0, max_blob_bytes=100)) as here:
            await here.uploads.start(OWNER, size_bytes=100)
            with pytest.raises(BlobTooLarge):
                await here.uploads.start(OWNER, size_bytes=101)
            assert len([record async for record in here.backend.stagings()]) == 1

    async def test_no_session_starts_on_a_full_disk(self) -> None:
        """Section 7: min_free_bytes, disk full; an announced size counts."""
        backend = Cramped(free=1000)
        clock = Clock()
        limits = Limits(min_free_bytes=600)
        async with hall(backend, limits=limits, clock=clock) as here:
            await here.uploads.start(OWNER, size_bytes=400)
            with pytest.raises(StorageFull):
                await here.uploads.start(OWNER, size_bytes=401)
            backend.free = 599
            clock.ahead_s += 10
            with pytest.raises(StorageFull):
                await here.uploads.start(OWNER)
            backend.free = 600
            clock.ahead_s += 10
            await here.uploads.start(OWNER)


class TestStatus:
    async def test_only_the_owner_sees_a_session(self, here: Hall) -> None:
        """Promise 10: whoever else asks learns nothing."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        body = ScriptedBody.of(b"x")
        for call in (
            here.uploads.status(upload_id, "somebody else"),
            here.uploads.append(upload_id, "somebody else", body),
            here.uploads.finish(upload_id, "", digest_of(b""), here.holder),
            here.uploads.cancel(upload_id, "somebody else"),
        ):
            with pytest.raises(UploadUnknown):
                await call
        assert (await here.uploads.status(upload_id, OWNER)).offset == 0

    @pytest.mark.parametrize("upload_id", ["0" * 32, "", "../../etc/passwd"])
    async def test_an_unknown_session_is_unknown_to_every_call(
        self, here: Hall, upload_id: str
    ) -> None:
        """Section 7: unknown upload, 404."""
        for call in (
            here.uploads.status(upload_id, OWNER),
            here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"x")),
            here.uploads.finish(upload_id, OWNER, digest_of(b""), here.holder),
            here.uploads.cancel(upload_id, OWNER),
        ):
            with pytest.raises(UploadUnknown):
                await call

    @pytest.mark.parametrize("memo", [b"", b"{}", b"[]", b"garbage", b'{"owner": "somebody"}'])
    async def test_a_memo_that_is_none_of_ours_is_no_session(self, here: Hall, memo: bytes) -> None:
        """Memo.load: UploadUnknown; as after a removal that a crash has cut off."""
        await here.backend.begin("1" * 32, memo)
        with pytest.raises(UploadUnknown):
            await here.uploads.status("1" * 32, OWNER)
        with pytest.raises(UploadUnknown):
            await here.uploads.append("1" * 32, OWNER, ScriptedBody.of(b"x"))
        assert [upload async for upload in here.uploads.open_uploads()] == []

    async def test_open_uploads_are_those_of_all_owners(self, here: Hall) -> None:
        """open_uploads: for the operator; finished ones are none."""
        mine = await here.uploads.start(OWNER)
        theirs = await here.uploads.start("somebody else")
        done = await here.uploads.start(OWNER)
        await finished(here, done.upload_id, b"")
        found = {upload.upload_id async for upload in here.uploads.open_uploads()}
        assert found == {mine.upload_id, theirs.upload_id}


class TestAppend:
    @pytest.mark.parametrize("cuts", [[0], [1], [699_999], [64, 100_000, 100_001, 400_000]])
    async def test_pieces_add_up(self, here: Hall, cuts: list[int]) -> None:
        """Promise 5: any number of PATCHes, continued without reading again."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        for start, stop in zip([0, *cuts], [*cuts, len(DATA)], strict=True):
            body = ScriptedBody.of(DATA[start:stop], announced=start % 2 == 0)
            upload = await here.uploads.append(upload_id, OWNER, body)
            assert upload.offset == stop
            assert (await here.uploads.status(upload_id, OWNER)).offset == stop
        await finished(here, upload_id, DATA)
        assert here.sample("reread_bytes_total") == 0

    async def test_a_span_says_where_a_body_lies(self, here: Hall) -> None:
        """append: `span` is where the client says it lies."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"12345"), span=Span(0, 5))
        chunked = ScriptedBody.of(b"678", announced=False)
        upload = await here.uploads.append(upload_id, OWNER, chunked, span=Span(5, 8))
        assert upload.offset == 8
        await finished(here, upload_id, b"12345678")

    @pytest.mark.parametrize("span", [Span(0, 3), Span(4, 7), Span(6, 9)])
    async def test_a_chunk_out_of_order_is_not_read(self, here: Hall, span: Span) -> None:
        """Section 7: 416; the session lives on unchanged."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"12345"))
        body = ScriptedBody.of(b"678")
        with pytest.raises(OffsetMismatch) as raised:
            await here.uploads.append(upload_id, OWNER, body, span=span)
        assert (raised.value.offset, raised.value.got) == (5, span.start)
        assert body.buffers == []
        await here.uploads.append(upload_id, OWNER, body, span=Span(5, 8))
        await finished(here, upload_id, b"12345678")

    async def test_a_length_that_contradicts_its_span_is_not_read(self, here: Hall) -> None:
        """Section 7: SIZE_INVALID."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        body = ScriptedBody.of(b"12345")
        with pytest.raises(SizeMismatch):
            await here.uploads.append(upload_id, OWNER, body, span=Span(0, 4))
        assert body.buffers == []
        assert (await here.uploads.status(upload_id, OWNER)).offset == 0

    @pytest.mark.parametrize("span", [Span(5, 7), Span(5, 9)], ids=["longer", "shorter"])
    async def test_a_body_that_contradicts_its_span_is_undone(self, here: Hall, span: Span) -> None:
        """Section 7: SIZE_INVALID; that request is undone, also where it showed only at the end."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"12345"))
        body = ScriptedBody.of(b"678", announced=False)
        with pytest.raises(SizeMismatch) as raised:
            await here.uploads.append(upload_id, OWNER, body, span=span)
        assert (raised.value.announced_bytes, raised.value.received_bytes) == (span.size_bytes, 3)
        assert here.sample("discarded_bytes_total") == 3
        assert (await here.uploads.status(upload_id, OWNER)).offset == 5
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"!"), span=Span(5, 6))
        await finished(here, upload_id, b"12345!")

    @pytest.mark.parametrize(
        "error", [BodyBroken(1), BodyIdle(60), BodyMalformed("no")], ids=["broken", "idle", "odd"]
    )
    async def test_what_arrived_before_the_client_failed_stays(
        self, here: Hall, error: Exception
    ) -> None:
        """Section 7: a PATCH breaks off; GET status tells the exact offset."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        with pytest.raises(type(error)):
            await here.uploads.append(upload_id, OWNER, ScriptedBody(DATA[:300_001], error))
        assert (await here.uploads.status(upload_id, OWNER)).offset == 300_001
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(DATA[300_001:]))
        await finished(here, upload_id, DATA)
        assert here.sample("reread_bytes_total") == 0

    async def test_a_broken_body_of_a_span_is_kept_where_its_length_was_known(
        self, here: Hall
    ) -> None:
        """Section 7: a PATCH breaks off, what arrived stays; a Content-Range changes nothing."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        body = ScriptedBody(DATA[:1000], BodyBroken(1000), length_bytes=5000)
        with pytest.raises(BodyBroken):
            await here.uploads.append(upload_id, OWNER, body, span=Span(0, 5000))
        assert (await here.uploads.status(upload_id, OWNER)).offset == 1000

    async def test_a_full_disk_leaves_the_session_at_its_record(self) -> None:
        """append: the backend's errors; then resumed with the right hash (promise 1, 9)."""
        faults = [Fault("append", 2, error=StorageFull(), after_bytes=9)]
        async with hall(Faulty(Memory(), faults)) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"saved"))
            with pytest.raises(StorageFull):
                await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b", and then lost"))
            assert (await here.uploads.status(upload_id, OWNER)).offset == 5
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b", goes on"))
            await finished(here, upload_id, b"saved, goes on")

    async def test_a_long_patch_is_saved_on_its_way(
        self, here: Hall, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Section 5, Resume: a record at least every so many bytes of a PATCH."""
        monkeypatch.setattr(session_module, "CHECKPOINT_BYTES", 100_000)
        upload_id = (await here.uploads.start(OWNER)).upload_id
        pause = asyncio.Event()
        body = ScriptedBody(DATA, pause, b"the end")
        async with asyncio.TaskGroup() as group:
            patch = group.create_task(here.uploads.append(upload_id, OWNER, body))
            await body.paused.wait()
            saved = (await here.uploads.status(upload_id, OWNER)).offset
            assert 100_000 <= saved <= len(DATA)
            pause.set()
        assert patch.result().offset == len(DATA) + 7
        await finished(here, upload_id, DATA + b"the end")

    async def test_a_slow_patch_is_saved_on_its_way(
        self, here: Hall, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Section 5, Resume: or every so many seconds."""
        monkeypatch.setattr(session_module, "CHECKPOINT_S", 0.0)
        upload_id = (await here.uploads.start(OWNER)).upload_id
        first, last = asyncio.Event(), asyncio.Event()
        body = ScriptedBody(b"first", first, b"second", last)
        async with asyncio.TaskGroup() as group:
            group.create_task(here.uploads.append(upload_id, OWNER, body))
            await body.paused.wait()
            body.paused.clear()
            first.set()
            await body.paused.wait()
            assert (await here.uploads.status(upload_id, OWNER)).offset == 5
            last.set()
        assert (await here.uploads.status(upload_id, OWNER)).offset == 11


class TestLimits:
    LIMITED = Limits(min_free_bytes=0, max_blob_bytes=100)

    async def test_an_announced_body_over_the_limit_is_not_read(self) -> None:
        """Promise 8; section 7: 413 before any byte is read; the session lives."""
        async with hall(limits=self.LIMITED) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"x" * 60))
            for body in (ScriptedBody.of(b"y" * 41), ScriptedBody(length_bytes=10**15)):
                with pytest.raises(BlobTooLarge) as raised:
                    await here.uploads.append(upload_id, OWNER, body)
                assert body.buffers == []
                assert raised.value.limit_bytes == 100
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"y" * 40))
            await finished(here, upload_id, b"x" * 60 + b"y" * 40)

    async def test_a_span_announces_a_size_too(self) -> None:
        """Promise 8: a chunked body with a Content-Range."""
        async with hall(limits=self.LIMITED) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            body = ScriptedBody.of(b"y" * 101, announced=False)
            with pytest.raises(BlobTooLarge):
                await here.uploads.append(upload_id, OWNER, body, span=Span(0, 101))
            assert body.buffers == []

    async def test_a_body_of_unknown_length_ends_the_session_at_the_limit(self) -> None:
        """Promise 8; state table: more bytes than fit, gone; to the byte, over all PATCHes."""
        async with hall(limits=self.LIMITED) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"x" * 60))
            fits = ScriptedBody.of(b"y" * 40, announced=False)
            await here.uploads.append(upload_id, OWNER, fits)
            body = ScriptedBody.of(b"!", announced=False)
            with pytest.raises(BlobTooLarge) as raised:
                await here.uploads.append(upload_id, OWNER, body)
            assert (raised.value.limit_bytes, raised.value.size_bytes) == (100, 101)
            assert await gone(here, upload_id)
            assert here.sample("uploads_total", outcome="refused") == 1

    async def test_a_disk_too_full_for_an_announced_body_is_told_before_it_is_read(self) -> None:
        """Section 7: disk full; the session lives."""
        backend = Cramped(free=1000)
        async with hall(backend, limits=Limits(min_free_bytes=500)) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            body = ScriptedBody.of(b"x" * 501)
            with pytest.raises(StorageFull):
                await here.uploads.append(upload_id, OWNER, body)
            assert body.buffers == []
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"x" * 500))

    async def test_no_more_uploads_receive_than_allowed(self) -> None:
        """Section 7: 429; the session lives, and there is room again afterwards."""
        async with hall(limits=Limits(min_free_bytes=0, max_uploads=1)) as here:
            one, other = [(await here.uploads.start(OWNER)).upload_id for _ in range(2)]
            pause = asyncio.Event()
            body = ScriptedBody(pause)
            async with asyncio.TaskGroup() as group:
                group.create_task(here.uploads.append(one, OWNER, body))
                await body.paused.wait()
                with pytest.raises(TooManyUploads):
                    await here.uploads.append(other, OWNER, ScriptedBody.of(b"x"))
                with pytest.raises(TooManyUploads):
                    await here.uploads.finish(
                        other, OWNER, digest_of(b"x"), here.holder, body=ScriptedBody.of(b"x")
                    )
                pause.set()
            await here.uploads.append(other, OWNER, ScriptedBody.of(b"x"))
            await finished(here, other, b"x")

    async def test_a_spent_budget_keeps_what_arrived(self) -> None:
        """Section 7: 429; promise 9."""
        limits = Limits(min_free_bytes=0, budget_wait_s=0.05)
        async with hall(limits=limits, budget_bytes=64 * 1024) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            pause = asyncio.Event()
            body = ScriptedBody(b"arrived", pause, b"too late")

            async def append() -> None:
                with pytest.raises(BudgetExhausted):
                    await here.uploads.append(upload_id, OWNER, body)

            async with asyncio.TaskGroup() as group:
                group.create_task(append())
                await body.paused.wait()
                await until(lambda: here.budget.leased_bytes == 0)
                other = await here.budget.take(64 * 1024)
                pause.set()
            other.release()
            assert (await here.uploads.status(upload_id, OWNER)).offset == 7
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b", then more"))
            await finished(here, upload_id, b"arrived, then more")


class TestDeadline:
    @pytest.mark.parametrize("body", [ScriptedBody.of(b"too late"), None], ids=["body", "empty"])
    async def test_an_overdue_session_takes_nothing_and_ends(
        self, here: Hall, body: ScriptedBody | None
    ) -> None:
        """Section 7: older than the time limit, 403, the session ends."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        here.clock.ahead_s += 606
        with pytest.raises(UploadExpired) as raised:
            await here.uploads.status(upload_id, OWNER)
        assert raised.value.limit_s == 600
        digest = digest_of(b"")
        with pytest.raises(UploadExpired):
            await here.uploads.finish(upload_id, OWNER, digest, here.holder, body=body)
        assert body is None or body.buffers == []
        assert await gone(here, upload_id)
        assert here.sample("uploads_total", outcome="expired") == 1
        late = (await here.uploads.start(OWNER)).upload_id
        here.clock.ahead_s += 606
        with pytest.raises(UploadExpired):
            await here.uploads.append(late, OWNER, ScriptedBody.of(b"too late"))
        assert await gone(here, late)

    async def test_a_session_within_the_grace_is_not_overdue(self, here: Hall) -> None:
        """Section 7: wall clock with 5 s of grace across requests."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        here.clock.ahead_s += 602
        await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"in time"))
        await finished(here, upload_id, b"in time")

    async def test_a_body_that_takes_too_long_is_cut_off(self, here: Hall) -> None:
        """Section 7: from POST to the last byte; the session ends."""
        upload_id = (await here.uploads.start(OWNER)).upload_id
        here.clock.ahead_s += 604.9
        body = ScriptedBody(b"some bytes", asyncio.Event())
        with pytest.raises(UploadExpired):
            async with asyncio.timeout(SOON_S):
                await here.uploads.append(upload_id, OWNER, body)
        assert await gone(here, upload_id)
        assert here.sample("discarded_bytes_total") == 10

    async def test_a_commit_whose_last_byte_arrived_in_time_is_not_cut(self) -> None:
        """Section 7: never cut, however long the backend takes."""
        stall = asyncio.Event()
        async with hall(Faulty(Memory(), [Fault("commit", stall=stall)])) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            here.clock.ahead_s += 604.8
            async with asyncio.TaskGroup() as group:
                committing = group.create_task(
                    here.uploads.finish(
                        upload_id,
                        OWNER,
                        digest_of(b"in time"),
                        here.holder,
                        body=ScriptedBody.of(b"in time"),
                    )
                )
                asyncio.get_running_loop().call_later(0.4, stall.set)
            assert committing.result().size_bytes == 7

    async def test_a_limit_of_zero_is_none(self) -> None:
        """Section 7: 0 switches it off."""
        async with hall(limits=Limits(min_free_bytes=0, upload_timeout_s=0)) as here:
            upload_id = (await here.uploads.start(OWNER)).upload_id
            here.clock.ahead_s += 10**7
            await here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"at last"))
            await finished(here, upload_id, b"at last")
