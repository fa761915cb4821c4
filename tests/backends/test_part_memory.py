"""Memory for parts: so many buffers and no more, made once."""

from __future__ import annotations

import asyncio

import pytest

from blobd.backends import part_memory
from blobd.backends.part_memory import End, Held, PartMemory
from blobd.errors import BudgetExhausted
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
    held.give_back()
    held.give_back()
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
        one.give_back()
        await waiting
    assert (one.count, other.count) == (0, 1)


async def test_a_wait_that_is_too_long_is_told() -> None:
    """429, and the buffer is not lost to the next."""
    memory = PartMemory(Account(PART_BYTES).share(), part_size_bytes=PART_BYTES, wait_s=0.01)
    one, other = memory.hold(), memory.hold()
    await one.first()
    with pytest.raises(BudgetExhausted):
        await other.first()
    one.give_back()
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
