"""The pump: hashed beside the append, bounded, and in agreement however it ends (4, 7, 8, 9)."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from blobd.backends.memory import Memory
from blobd.backends.wrappers import Fault, Faulty
from blobd.digest import Span
from blobd.errors import BlobTooLarge, BodyBroken, BodyIdle, BudgetExhausted, StorageFull
from blobd.hashing import Hasher, Hashing
from blobd.limits import SIZES_BYTES, Budget
from blobd.metrics import Metrics
from blobd.quota import Account
from blobd.receive import Receiver
from blobd.threads import Threads
from tests.backends.acts import SOON_S, begin, digest_of, joined, staged, until
from tests.cancellation import cancel_at_each_checkpoint
from tests.core.scripted import ScriptedBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from blobd.backends.base import Backend, Staging

SMALL, MIDDLE, LARGE = SIZES_BYTES
NO_LIMIT = 10**12
DATA = random.Random(12).randbytes(3 * LARGE + 12345)


class Pump:
    """A receiver, its budget and its numbers."""

    def __init__(
        self, threads: Threads, *, budget_bytes: int = 4 * LARGE, wait_s: float = SOON_S
    ) -> None:
        self.metrics = Metrics()
        self.budget = Budget(Account(budget_bytes).share(), wait_s=wait_s, metrics=self.metrics)
        self.receiver = Receiver(self.budget, threads, self.metrics)
        self.hasher: Hasher = Hashing().new("sha256")

    async def receive(
        self,
        body: ScriptedBody,
        staging: Staging,
        *,
        limit_bytes: int = NO_LIMIT,
        progress: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        return await self.receiver.receive(
            body, staging, self.hasher, limit_bytes=limit_bytes, progress=progress
        )

    async def assert_agrees(self, staging: Staging, data: bytes) -> None:
        """Check that staging and hasher hold these bytes, and that no buffer is out."""
        assert staging.offset == len(data)
        assert self.hasher.digest() == digest_of(data)
        assert await joined(staging.read(Span(0, staging.offset))) == data
        assert self.budget.leased_bytes == 0

    def sample(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"blobd_{name}") or 0


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(4, "hash")
    yield made
    made.close()


@pytest.fixture
def pump(threads: Threads) -> Pump:
    return Pump(threads)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize(
    "size_bytes",
    [
        0,
        1,
        16 * 1024,
        16 * 1024 + 1,
        SMALL - 1,
        SMALL,
        SMALL + 1,
        SMALL + MIDDLE,
        SMALL + MIDDLE + LARGE,
        len(DATA),
    ],
)
async def test_a_body_arrives_whole_hashed_and_counted(
    pump: Pump, size_bytes: int, announced: bool
) -> None:
    """Promise 4: received, hashed, written, at every edge of the buffers."""
    async with staged(Memory()) as staging:
        body = ScriptedBody.of(DATA[:size_bytes], announced=announced)
        assert await pump.receive(body, staging) == size_bytes
        await pump.assert_agrees(staging, DATA[:size_bytes])
    assert pump.sample("received_bytes_total") == size_bytes
    assert (pump.sample("hash_seconds_total") > 0) == (size_bytes > 0)


async def test_pieces_between_framing_arrive_in_order(pump: Pump) -> None:
    """Body.receive: the parts of a buffer that are body bytes, in order."""
    chunks = [DATA[start : start + 32_768] for start in range(0, 2_000_000, 32_768)]
    async with staged(Memory()) as staging:
        await pump.receive(ScriptedBody(*chunks), staging)
        await pump.assert_agrees(staging, b"".join(chunks))


async def test_a_body_is_added_to_what_is_there(pump: Pump) -> None:
    """Receiver.receive: appended to staging and hash."""
    async with staged(Memory()) as staging:
        await pump.receive(ScriptedBody.of(b"one, "), staging)
        assert await pump.receive(ScriptedBody.of(b"two"), staging) == 3
        await pump.assert_agrees(staging, b"one, two")


class TestOverlap:
    async def test_the_next_buffer_fills_while_one_is_written(self, threads: Threads) -> None:
        """Promise 4: receive, hash and write overlap; promise 7: two buffers, not more."""
        pump = Pump(threads)
        written = asyncio.Event()
        backend = Faulty(Memory(), [Fault("append", stall=written)])
        body = ScriptedBody.of(DATA)
        async with staged(backend) as staging, asyncio.TaskGroup() as group:
            receiving = group.create_task(pump.receive(body, staging))
            await until(lambda: len(body.buffers) == 2)
            for _ in range(20):
                await asyncio.sleep(0)
            assert body.taken_bytes == SMALL + MIDDLE
            assert pump.budget.leased_bytes == SMALL + MIDDLE
            written.set()
            assert await receiving == len(DATA)
            await pump.assert_agrees(staging, DATA)

    async def test_a_buffer_is_not_used_again_before_it_is_written(self, threads: Threads) -> None:
        """Lease: returned once the bytes are used, however long the backend takes."""
        pump = Pump(threads, budget_bytes=2 * SMALL)
        stalls = [asyncio.Event() for _ in range(6)]
        faults = [Fault("append", call, stall=stall) for call, stall in enumerate(stalls, 1)]
        async with staged(Faulty(Memory(), faults)) as staging, asyncio.TaskGroup() as group:
            receiving = group.create_task(pump.receive(ScriptedBody.of(DATA[: 6 * SMALL]), staging))
            for stall in stalls:
                for _ in range(5):
                    await asyncio.sleep(0)
                stall.set()
            assert await receiving == 6 * SMALL
            await pump.assert_agrees(staging, DATA[: 6 * SMALL])


class TestBuffers:
    async def test_they_grow_while_the_client_fills_them(self, pump: Pump) -> None:
        """Section 5, Budget: small at first, large while reads fill them."""
        async with staged(Memory()) as staging:
            body = ScriptedBody.of(DATA)
            await pump.receive(body, staging)
        assert body.buffers[:4] == [SMALL, MIDDLE, LARGE, LARGE]

    async def test_they_shrink_when_the_client_pauses(self, pump: Pump) -> None:
        """Section 5, Budget: only while reads fill them."""
        pauses = [asyncio.Event() for _ in range(6)]
        for pause in pauses:
            pause.set()
        trickle = [step for pause in pauses for step in (pause, b"a few bytes")]
        async with staged(Memory()) as staging:
            body = ScriptedBody(DATA[: SMALL + MIDDLE], *trickle)
            await pump.receive(body, staging)
        assert body.buffers[:3] == [SMALL, MIDDLE, LARGE]
        assert body.buffers[-1] == SMALL

    async def test_a_client_that_pauses_holds_none(self, pump: Pump) -> None:
        """Invariant 3 of the budget: a lease is taken only when bytes have arrived."""
        pause = asyncio.Event()
        body = ScriptedBody(b"some bytes", pause, b" and more")
        async with staged(Memory()) as staging, asyncio.TaskGroup() as group:
            receiving = group.create_task(pump.receive(body, staging))
            await body.paused.wait()
            await until(lambda: staging.offset == 10 and pump.budget.leased_bytes == 0)
            pause.set()
            assert await receiving == 19

    async def test_many_uploads_share_the_smallest_budget(self, threads: Threads) -> None:
        """Promise 7: and some upload always finishes."""
        pump = Pump(threads, budget_bytes=2 * SMALL)
        backend = Memory()

        async def one(number: int) -> None:
            data = random.Random(number).randbytes(300_000 + number)
            hasher = Hashing().new("sha256")
            async with staged(backend) as staging:
                body = ScriptedBody.of(data, announced=number % 2 == 0)
                await pump.receiver.receive(body, staging, hasher, limit_bytes=NO_LIMIT)
                assert hasher.digest() == digest_of(data)
                assert staging.offset == len(data)

        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*(one(number) for number in range(24)))
        assert pump.budget.leased_bytes == 0

    async def test_a_budget_that_stays_spent_keeps_what_arrived(self, threads: Threads) -> None:
        """Section 7: 429; Receiver.receive: staging and hasher agree."""
        pump = Pump(threads, budget_bytes=SMALL, wait_s=0.05)
        pause = asyncio.Event()
        body = ScriptedBody(b"arrived", pause, b"too late")
        async with staged(Memory()) as staging, asyncio.TaskGroup() as group:

            async def receive() -> None:
                with pytest.raises(BudgetExhausted):
                    await pump.receive(body, staging)

            receiving = group.create_task(receive())
            await body.paused.wait()
            await until(lambda: staging.offset == 7 and pump.budget.leased_bytes == 0)
            other = await pump.budget.take(SMALL)
            pause.set()
            await receiving
            other.release()
            await pump.assert_agrees(staging, b"arrived")


class TestLimit:
    @pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
    @pytest.mark.parametrize("size_bytes", [1, SMALL, SMALL + MIDDLE + 7])
    async def test_a_body_up_to_the_limit_fits(
        self, pump: Pump, size_bytes: int, announced: bool
    ) -> None:
        """Promise 8: to the byte."""
        async with staged(Memory()) as staging:
            body = ScriptedBody.of(DATA[:size_bytes], announced=announced)
            await pump.receive(body, staging, limit_bytes=size_bytes)
            await pump.assert_agrees(staging, DATA[:size_bytes])

    @pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
    @pytest.mark.parametrize("size_bytes", [1, SMALL, SMALL + MIDDLE + 7])
    async def test_one_byte_more_is_refused_and_never_written(
        self, pump: Pump, size_bytes: int, announced: bool
    ) -> None:
        """Promise 8: nothing beyond the limit is written."""
        async with staged(Memory()) as staging:
            body = ScriptedBody.of(DATA[:size_bytes], announced=announced)
            with pytest.raises(BlobTooLarge) as raised:
                await pump.receive(body, staging, limit_bytes=size_bytes - 1)
            assert raised.value.limit_bytes == size_bytes - 1
            assert raised.value.size_bytes == size_bytes
            assert staging.offset <= size_bytes - 1
        assert pump.budget.leased_bytes == 0

    async def test_the_limit_counts_what_was_there_before(self, pump: Pump) -> None:
        """Receiver.receive: `limit_bytes` bounds the staging's offset."""
        async with staged(Memory()) as staging:
            await pump.receive(ScriptedBody.of(b"12345"), staging, limit_bytes=8)
            with pytest.raises(BlobTooLarge) as raised:
                await pump.receive(ScriptedBody.of(b"6789"), staging, limit_bytes=8)
            await pump.assert_agrees(staging, b"12345")
        assert (raised.value.limit_bytes, raised.value.size_bytes) == (8, 9)


class TestEndings:
    @pytest.mark.parametrize("error", [BodyBroken(7), BodyIdle(60)], ids=["broken", "idle"])
    @pytest.mark.parametrize("size_bytes", [0, 1, SMALL, SMALL + 1, SMALL + MIDDLE + 5])
    async def test_what_arrived_before_the_client_failed_stays(
        self, pump: Pump, error: Exception, size_bytes: int
    ) -> None:
        """Section 7: a PATCH breaks off, what arrived stays."""
        async with staged(Memory()) as staging:
            with pytest.raises(type(error)):
                await pump.receive(ScriptedBody(DATA[:size_bytes], error), staging)
            await pump.assert_agrees(staging, DATA[:size_bytes])

    @pytest.mark.parametrize("call", [1, 2, 3])
    async def test_a_failing_backend_ends_the_body(self, threads: Threads, call: int) -> None:
        """Receiver.receive: raises what append raises; the buffers come back."""
        pump = Pump(threads)
        fault = Fault("append", call, error=StorageFull(), after_bytes=10)
        async with staged(Faulty(Memory(), [fault])) as staging:
            with pytest.raises(StorageFull):
                await pump.receive(ScriptedBody.of(DATA), staging)
            assert staging.offset == 0
        assert pump.budget.leased_bytes == 0

    async def test_a_backend_that_fails_while_the_client_pauses_is_noticed_at_once(
        self, threads: Threads
    ) -> None:
        """Receiver.receive: nobody waits for a client to learn that the disk is full."""
        pump = Pump(threads)
        body = ScriptedBody(b"some bytes", asyncio.Event())
        backend = Faulty(Memory(), [Fault("append", error=StorageFull())])
        async with staged(backend) as staging:
            with pytest.raises(StorageFull):
                async with asyncio.timeout(SOON_S):
                    await pump.receive(body, staging)
        assert pump.budget.leased_bytes == 0

    async def test_a_failing_progress_ends_the_body(self, pump: Pump) -> None:
        """Receiver.receive: raises what `progress` raises; staging and hasher agree."""

        async def fail() -> None:
            if staging.offset > SMALL:
                raise StorageFull

        async with staged(Memory()) as staging:
            with pytest.raises(StorageFull):
                await pump.receive(ScriptedBody.of(DATA), staging, progress=fail)
            await pump.assert_agrees(staging, DATA[: staging.offset])

    async def test_progress_sees_staging_and_hasher_agree(self, pump: Pump) -> None:
        """Receiver.receive: awaited between buffers."""
        seen: list[int] = []

        async def look() -> None:
            assert pump.hasher.digest() == digest_of(DATA[: staging.offset])
            seen.append(staging.offset)

        async with staged(Memory()) as staging:
            await pump.receive(ScriptedBody.of(DATA), staging, progress=look)
        assert seen[:3] == [0, SMALL, SMALL + MIDDLE]

    @pytest.mark.parametrize("size_bytes", [100, SMALL + 100, SMALL + MIDDLE + 100])
    async def test_cancelled_anywhere_it_leaves_no_buffer_out(
        self, threads: Threads, size_bytes: int
    ) -> None:
        """Promise 9: staging and hasher agree, unless an append went back to the record."""
        await threads.run(int)

        @asynccontextmanager
        async def receiving() -> AsyncIterator[Callable[[], Awaitable[object]]]:
            pump = Pump(threads)
            backend: Backend = Memory()
            upload_id = await begin(backend)
            async with staged(backend, upload_id) as staging:
                body = ScriptedBody.of(DATA[:size_bytes], announced=size_bytes % 2 == 0)
                yield lambda: pump.receive(body, staging)
                assert pump.budget.leased_bytes == 0
                if staging.offset > staging.record.offset:
                    await pump.assert_agrees(staging, DATA[: staging.offset])

        await _all_threads(threads)
        assert await cancel_at_each_checkpoint(receiving) > 0


async def _all_threads(threads: Threads) -> None:
    """Start every thread of a pool, so that none counts as leaked later."""
    for _ in range(threads._count):
        await threads.run(int)


class TestRehash:
    async def test_staged_bytes_are_read_again_and_counted(self, pump: Pump) -> None:
        """Promise 5: where no state was saved; metrics.reread_bytes."""
        async with staged(Memory()) as staging:
            await staging.append([DATA])
            hasher = Hashing().new("blake3")
            await pump.receiver.rehash(staging, hasher)
            assert hasher.digest() == digest_of(DATA, "blake3")
        assert pump.sample("reread_bytes_total") == len(DATA)
        assert pump.sample("received_bytes_total") == 0
