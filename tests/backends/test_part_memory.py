"""Memory for parts: so many buffers and no more, made once."""

from __future__ import annotations

import asyncio

import pytest

from blobd.backends.s3 import part_memory
from blobd.backends.s3.part_memory import End, Held, PartMemory
from blobd.errors import AccountBusy, BudgetExhausted
from blobd.fairness import Tally
from blobd.quota import Account

PART_BYTES = 1024


async def test_a_buffer_is_used_again_until_nobody_holds_one() -> None:
    """Promise 7: what is resident is what parts take, and nothing of it stays at rest."""
    memory = PartMemory(Account(3 * PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=1)
    held = memory.hold()
    await held.first()
    assert held.further()
    first = held.lend(PART_BYTES)
    second = held.lend(PART_BYTES)
    assert first is not second
    held.used(first)
    assert held.lend(PART_BYTES) is first
    held.used(first)
    held.used(second)
    assert len(memory._pool) == 2
    held.shrink(0)
    assert memory._pool == []


async def test_memory_of_another_size_is_not_kept() -> None:
    """A session that was begun with other parts goes on with them."""
    memory = PartMemory(Account(2 * PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=1)
    held = memory.hold()
    await held.first()
    other = held.lend(2 * PART_BYTES)
    assert len(other) == 2 * PART_BYTES
    held.used(other)
    assert len(held.lend(PART_BYTES)) == PART_BYTES


async def test_who_waits_for_a_first_buffer_goes_before_who_wants_more() -> None:
    """Promise 7: somebody always finishes."""
    memory = PartMemory(Account(PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=5)
    one, other = memory.hold(), memory.hold()
    await one.first()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(other.first())
        await asyncio.sleep(0)
        assert not one.further()
        one.shrink(0)
        await waiting
    assert (one.count, other.count) == (0, 1)


async def test_a_wait_that_is_too_long_is_told() -> None:
    """429, and the buffer is not lost to the next."""
    memory = PartMemory(Account(PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=0.01)
    one, other = memory.hold(), memory.hold()
    await one.first()
    with pytest.raises(BudgetExhausted):
        await other.first()
    one.shrink(0)
    await other.first()


async def holding(memory: PartMemory, content: bytes) -> tuple[Held, End]:
    """Return a hold with one buffer, and the end that lies in it."""
    held = memory.hold()
    await held.first()
    buffer = held.lend(PART_BYTES)
    buffer[: len(content)] = content
    return held, End(buffer, len(content))


async def test_an_end_is_found_again_where_it_was_left() -> None:
    """The next request of an upload goes on in the same buffer, and holds it."""
    memory = PartMemory(Account(PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=1)
    held, end = await holding(memory, b"end")
    held.keep("one", end)
    assert held.count == 0
    successor = memory.hold()
    assert successor.take("other") is None
    assert successor.take("one") is end
    assert successor.count == 1
    assert successor.take("one") is None
    assert not memory.hold().further()


async def test_an_end_gives_way_to_whoever_wants_its_buffer() -> None:
    """What is kept keeps nobody waiting, and the oldest goes first."""
    memory = PartMemory(Account(2 * PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=0)
    (one, first), (two, second) = [await holding(memory, b"end") for _ in range(2)]
    one.keep("one", first)
    two.keep("two", second)
    other = memory.hold()
    await other.first()
    assert other.lend(PART_BYTES) is first.memory
    assert memory.hold().take("one") is None
    assert other.further()
    assert memory.hold().take("two") is None


async def test_an_end_gives_way_to_who_waits_already() -> None:
    """A buffer that is given back with an end in it goes to the first in line."""
    memory = PartMemory(Account(PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=5)
    held, end = await holding(memory, b"end")
    other = memory.hold()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(other.first())
        await asyncio.sleep(0)
        held.keep("one", end)
        await waiting
    assert memory.hold().take("one") is None
    assert other.count == 1


async def test_a_few_bytes_take_no_buffer() -> None:
    """Many small ends are kept beside parts; the oldest go when they are too many."""
    memory = PartMemory(Account(PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=0)
    held, _ = await holding(memory, b"")
    for number in range(part_memory._KEPT_MAX + 1):
        held.keep(str(number), End(bytearray(b"few"), 3))
    assert held.count == 1
    assert held.take("0") is None
    found = held.take("1")
    assert found is not None
    assert bytes(found.memory) == b"few"
    assert held.count == 1


async def test_nothing_is_kept_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: an upload that nobody goes on with leaves no memory behind."""
    monkeypatch.setattr(part_memory, "KEPT_S", 0)
    memory = PartMemory(Account(2 * PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=0)
    held, end = await holding(memory, b"end")
    held.keep("one", end)
    assert memory._kept
    await asyncio.sleep(0.001)  # a later timer than the end's
    assert not memory._kept
    assert memory._pool == []


def shared(buffers: int, *, wait_s: float = 5, workers: int = 1) -> list[PartMemory]:
    """Return each worker's hand on memory of which an account may have half."""
    account, tally = Account(buffers * PART_BYTES, workers), Tally(workers)
    return [
        PartMemory(
            account.share(worker),
            part_size_bytes=PART_BYTES,
            wait_s=wait_s,
            tally=tally,
            account_share=0.5,
        )
        for worker in range(workers)
    ]


async def test_slow_uploads_of_one_account_leave_buffers_to_others() -> None:
    """Invariant 4: over all workers, and the account's own wait holds nobody up."""
    one, two = shared(4, workers=2)
    held = [memory.hold("ada") for memory in (one, two)]
    for each in held:
        await each.first()
    late = one.hold("ada")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = group.create_task(late.first())
        await asyncio.sleep(0)
        others = [two.hold("bob"), one.hold("eve")]
        for other in others:
            await other.first()
        assert not waiting.done()
        others[0].shrink(0)
        held[1].shrink(0)
        await waiting
    assert [each.count for each in (*held, late)] == [1, 0, 1]


async def test_an_account_that_waits_for_its_share_in_vain_is_told() -> None:
    """Invariant 4: and nothing is counted for it, nor for one that is cancelled."""
    (memory,) = shared(2, wait_s=0.01)
    held, late = memory.hold("ada"), memory.hold("ada")
    await held.first()
    with pytest.raises(AccountBusy):
        await late.first()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(late.first())
        await asyncio.sleep(0)
        waiting.cancel()
    assert memory._portions.held("ada") == PART_BYTES
    held.shrink(0)
    await late.first()
    assert memory._portions.held("ada") == PART_BYTES


async def test_alone_an_account_has_all_further_buffers_and_beside_others_its_share() -> None:
    """Invariant 4."""
    (memory,) = shared(4)
    ada, bob = memory.hold("ada"), memory.hold("bob")
    await ada.first()
    assert [ada.further() for _ in range(4)] == [True, True, True, False]
    ada.shrink(2)
    await bob.first()
    assert not ada.further()
    assert bob.further()


async def test_what_is_kept_is_in_nobodys_share() -> None:
    """Invariants 3 and 4: it gives way, so it does not keep its account from going on."""
    (memory,) = shared(2)
    held = memory.hold("ada")
    await held.first()
    held.keep("one", End(held.lend(PART_BYTES), 3))
    assert memory._portions.held("ada") == 0
    successor = memory.hold("ada")
    assert successor.take("one") is not None
    assert memory._portions.held("ada") == PART_BYTES
    successor.shrink(0)
    assert memory._portions.held("ada") == 0
