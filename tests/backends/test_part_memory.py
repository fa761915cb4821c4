"""Memory for parts: so many buffers and no more, made once."""

from __future__ import annotations

import asyncio

import pytest

from blobd.backends.part_memory import PartMemory
from blobd.errors import BudgetExhausted

PART_BYTES = 1024


async def test_a_buffer_is_used_again_until_nobody_holds_one() -> None:
    """Promise 7: what is resident is what parts take, and nothing of it stays at rest."""
    memory = PartMemory(3 * PART_BYTES, part_size_bytes=PART_BYTES, wait_s=1)
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
    memory = PartMemory(2 * PART_BYTES, part_size_bytes=PART_BYTES, wait_s=1)
    held = memory.hold()
    await held.first()
    other = held.lend(2 * PART_BYTES)
    assert len(other) == 2 * PART_BYTES
    held.used(other)
    assert len(held.lend(PART_BYTES)) == PART_BYTES


async def test_who_waits_for_a_first_buffer_goes_before_who_wants_more() -> None:
    """Promise 7: somebody always finishes."""
    memory = PartMemory(PART_BYTES, part_size_bytes=PART_BYTES, wait_s=5)
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
    memory = PartMemory(PART_BYTES, part_size_bytes=PART_BYTES, wait_s=0.01)
    one, other = memory.hold(), memory.hold()
    await one.first()
    with pytest.raises(BudgetExhausted):
        await other.first()
    one.give_back()
    await other.first()
