"""Bytes in flight, uploads at a time, bytes in a blob (promises 7, 8; limits.py's invariants)."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobd.errors import BlobTooLarge, BudgetExhausted, TooManyUploads
from blobd.limits import SIZES_BYTES, Admission, Budget, Lease, check_size
from blobd.metrics import Metrics
from blobd.quota import Account

SMALL, MIDDLE, LARGE = SIZES_BYTES
SOON_S = 20.0


def budget_of(max_bytes: int, wait_s: float = SOON_S) -> Budget:
    return Budget(Account(max_bytes).share(), wait_s=wait_s, metrics=Metrics())


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestBudget:
    async def test_a_buffer_has_the_size_asked_for(self) -> None:
        """Budget.take: while there is enough."""
        budget = budget_of(2 * LARGE)
        for size_bytes in SIZES_BYTES:
            lease = await budget.take(size_bytes)
            assert len(lease.view) == size_bytes
            lease.view[:] = b"x" * size_bytes
            lease.release()
        assert budget.leased_bytes == 0

    async def test_a_smaller_buffer_is_given_where_less_is_free(self) -> None:
        """Budget.take: or of a smaller size."""
        budget = budget_of(2 * MIDDLE + 2 * SMALL)
        sizes = [len((await budget.take(LARGE)).view) for _ in range(4)]
        assert sizes == [MIDDLE, MIDDLE, SMALL, SMALL]
        assert budget.leased_bytes == 2 * MIDDLE + 2 * SMALL

    async def test_releasing_twice_returns_a_buffer_once(self) -> None:
        """Lease.release: idempotent."""
        budget = budget_of(SMALL)
        lease = await budget.take(SMALL)
        lease.release()
        lease.release()
        assert budget.leased_bytes == 0
        again = await budget.take(SMALL)
        assert budget.leased_bytes == SMALL
        again.release()

    async def test_buffers_are_used_again(self) -> None:
        """limits.py: pooled."""
        budget = budget_of(LARGE)
        lease = await budget.take(SMALL)
        lease.view[:5] = b"trace"
        lease.release()
        assert bytes((await budget.take(SMALL)).view[:5]) == b"trace"

    async def test_idle_buffers_count_against_the_budget(self) -> None:
        """Invariant 1: pool and leases together keep the budget."""
        budget = budget_of(LARGE)
        small = [await budget.take(SMALL) for _ in range(LARGE // SMALL)]
        for lease in small:
            lease.release()
        large = await budget.take(LARGE)
        assert budget._pooled_bytes + budget.leased_bytes <= LARGE
        large.release()
        assert budget._pooled_bytes <= LARGE

    async def test_the_budget_is_told_and_counted(self) -> None:
        """metrics.py: in_flight_bytes, in_flight_budget_bytes."""
        metrics = Metrics()
        budget = Budget(Account(LARGE).share(), wait_s=0, metrics=metrics)
        lease = await budget.take(MIDDLE)
        sample = metrics.registry.get_sample_value
        assert sample("blobd_in_flight_budget_bytes") == LARGE
        assert sample("blobd_in_flight_bytes") == MIDDLE
        lease.release()
        assert sample("blobd_in_flight_bytes") == 0

    async def test_a_spent_budget_makes_one_wait_and_then_refuses(self) -> None:
        """Promise 7; section 7: budget spent for too long, 429."""
        budget = budget_of(SMALL, wait_s=0.05)
        lease = await budget.take(SMALL)
        with pytest.raises(BudgetExhausted) as raised:
            await budget.take(SMALL)
        assert (raised.value.budget_bytes, raised.value.waited_s) == (SMALL, 0.05)
        assert raised.value.retryable
        lease.release()
        assert len((await budget.take(SMALL)).view) == SMALL

    async def test_leases_are_granted_in_the_order_of_asking(self) -> None:
        """Invariant 2; whatever sizes are asked for."""
        budget = budget_of(SMALL)
        first = await budget.take(SMALL)
        order: list[int] = []

        async def ask(number: int) -> None:
            lease = await budget.take(SIZES_BYTES[number % 3])
            order.append(number)
            await asyncio.sleep(0)
            lease.release()

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(ask(number))
            await settled()
            first.release()
        assert order == list(range(12))

    async def test_those_woken_together_do_not_overdraw(self) -> None:
        """Invariant 1: what one was promised is not another's to take."""
        budget = budget_of(LARGE)
        first = await budget.take(LARGE)
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            tasks = [group.create_task(budget.take(LARGE)) for _ in range(5)]
            await settled()
            first.release()
            tasks.append(group.create_task(budget.take(LARGE)))
            await settled()
            assert budget.leased_bytes <= LARGE
        for task in tasks:
            task.result().release()
        assert budget.leased_bytes == 0

    async def test_a_turn_cancelled_at_the_last_moment_is_passed_on(self) -> None:
        """Budget.take: if cancelled, nothing is leased; and the next in line is not forgotten."""
        budget = budget_of(SMALL)
        first = await budget.take(SMALL)
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            woken = group.create_task(budget.take(SMALL))
            behind = group.create_task(budget.take(SMALL))
            await settled()
            first.release()
            woken.cancel()
        assert woken.cancelled()
        behind.result().release()
        assert budget.leased_bytes == 0

    async def test_one_who_gives_up_holds_nobody_up(self) -> None:
        """Budget.take: cancelled while waiting."""
        budget = budget_of(SMALL)
        first = await budget.take(SMALL)
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            gone = group.create_task(budget.take(SMALL))
            behind = group.create_task(budget.take(SMALL))
            await settled()
            gone.cancel()
            await settled()
            first.release()
        behind.result().release()
        assert budget.leased_bytes == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "release", "cancel", "run"]),
        st.integers(0, 7),
        st.sampled_from([1, *SIZES_BYTES]),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(steps=STEPS, budget_bytes=st.sampled_from([SMALL, 3 * SMALL, MIDDLE, MIDDLE + SMALL, LARGE]))
def test_whatever_is_asked_the_budget_holds_and_nobody_is_forgotten(
    steps: list[tuple[str, int, int]], budget_bytes: int
) -> None:
    """Promise 7, invariants 1 and 2: any sequence of asking, returning, giving up."""
    asyncio.run(_play(steps, budget_bytes))


async def _play(steps: list[tuple[str, int, int]], budget_bytes: int) -> None:
    budget = budget_of(budget_bytes)
    asking: list[asyncio.Task[Lease]] = []
    held: list[Lease] = []

    def collect() -> None:
        for task in [task for task in asking if task.done()]:
            asking.remove(task)
            if not task.cancelled():
                held.append(task.result())
        assert budget.leased_bytes <= budget_bytes
        assert budget.leased_bytes + budget._pooled_bytes <= budget_bytes

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        for verb, which, wanted_bytes in steps:
            if verb == "take":
                asking.append(group.create_task(budget.take(wanted_bytes)))
            elif verb == "release" and held:
                held.pop(which % len(held)).release()
            elif verb == "cancel" and asking:
                asking[which % len(asking)].cancel()
            elif verb == "run":
                await settled()
                collect()
                if asking:
                    assert budget_bytes - sum(len(lease.view) for lease in held) < SMALL
        while asking or held:
            await settled()
            collect()
            for lease in held:
                lease.release()
            held.clear()
    assert budget.leased_bytes == 0


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), uploads=st.integers(1, 40), buffers=st.integers(1, 3))
def test_somebody_always_finishes(seed: int, uploads: int, buffers: int) -> None:
    """Promise 7: many uploads, each with one buffer filling and one at work, few bytes."""
    asyncio.run(_contend(random.Random(seed), uploads, buffers * SMALL))


async def _contend(chance: random.Random, uploads: int, budget_bytes: int) -> None:
    budget = budget_of(budget_bytes)
    finished = 0

    async def work(lease: Lease, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        lease.release()

    async def upload() -> None:
        nonlocal finished
        async with asyncio.TaskGroup() as group:
            working: asyncio.Task[None] | None = None
            for _ in range(chance.randrange(1, 6)):
                lease = await budget.take(chance.choice(SIZES_BYTES))
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                if working is not None:
                    await working
                working = group.create_task(work(lease, chance.randrange(4)))
        finished += 1

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        for _ in range(uploads):
            group.create_task(upload())
    assert finished == uploads
    assert budget.leased_bytes == 0


class TestAdmission:
    async def test_no_more_uploads_receive_than_allowed(self) -> None:
        """Section 7: too many uploads, 429."""
        metrics = Metrics()
        admission = Admission(Account(2).share(), metrics)
        async with admission.admit(), admission.admit():
            with pytest.raises(TooManyUploads) as raised:
                async with admission.admit():
                    pass
            assert raised.value.limit == 2
            assert metrics.registry.get_sample_value("blobd_uploads_in_flight") == 2
        assert metrics.registry.get_sample_value("blobd_uploads_in_flight") == 0

    async def test_an_upload_that_fails_makes_room(self) -> None:
        """Admission.admit: while the block runs, however it ends."""
        admission = Admission(Account(1).share(), Metrics())
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with admission.admit():
                    raise ZeroDivisionError


class TestSize:
    @pytest.mark.parametrize("size_bytes", [0, 1, 99, 100])
    def test_up_to_the_limit_fits(self, size_bytes: int) -> None:
        """Promise 8: to the byte."""
        check_size(size_bytes, limit_bytes=100)

    @pytest.mark.parametrize("size_bytes", [101, 10**12])
    def test_one_byte_more_does_not_and_both_numbers_are_named(self, size_bytes: int) -> None:
        """Promise 8; section 7: the message names both numbers."""
        with pytest.raises(BlobTooLarge) as raised:
            check_size(size_bytes, limit_bytes=100)
        assert (raised.value.limit_bytes, raised.value.size_bytes) == (100, size_bytes)
        assert "100" in str(raised.value)
        assert str(size_bytes) in str(raised.value)
