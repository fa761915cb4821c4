"""Shared commits: what arrives together is written together (promises 3 and 9)."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from blobd.database import open_catalog
from blobd.database.sqlite.transaction import SqliteTransaction
from blobd.digest import Digest
from blobd.errors import StorageFull
from blobd.references import holds
from tests.registry.acts import asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from blobd.database import Catalog, Transaction

PINNED = "SELECT digest FROM pins ORDER BY digest"


@pytest.fixture
def kind() -> str:
    """SQLite alone."""
    return "sqlite"


def _digest(number: int) -> Digest:
    return Digest("sha256", f"{number:064x}")


def _pin(transaction: Transaction, number: int) -> None:
    holds.insert_pin(transaction, _digest(number), str(number), now=0)


@asynccontextmanager
async def _writer_kept_busy(catalog: Catalog) -> AsyncIterator[None]:
    """Let all that is handed over in the block wait until its end, and so arrive together."""
    began, end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stay(_: Transaction) -> None:
        loop.call_soon_threadsafe(began.set)
        end.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(catalog.write(stay))
        await began.wait()
        yield
        end.set()


async def _all_handed_over() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def _trace(transaction: Transaction, sent: list[str]) -> None:
    assert isinstance(transaction, SqliteTransaction)
    transaction.driver.set_trace_callback(sent.append)


async def _statements(catalog: Catalog) -> list[str]:
    """Return a list that what the writer sends to SQLite is added to."""
    sent: list[str] = []
    await catalog.write(lambda transaction: _trace(transaction, sent))
    sent.clear()
    return sent


async def test_writes_that_arrive_together_share_one_commit(catalog: Catalog) -> None:
    """One fsync answers for all."""
    sent = await _statements(catalog)
    async with asyncio.TaskGroup() as group, _writer_kept_busy(catalog):
        for number in range(3):
            group.create_task(catalog.write(partial(_pin, number=number)))
        await _all_handed_over()
    assert await asked(catalog, PINNED) == [str(_digest(number)) for number in range(3)]
    assert sent.count("COMMIT") == 2, "one for who kept the writer busy, one for the three"


async def test_a_write_that_raises_among_others_is_undone_alone(catalog: Catalog) -> None:
    """Promise 9: half of it is not there, all of the others is."""

    def fail_half_way(transaction: Transaction) -> None:
        _pin(transaction, 1)
        raise ZeroDivisionError

    async with asyncio.TaskGroup() as group, _writer_kept_busy(catalog):
        first = group.create_task(catalog.write(partial(_pin, number=0)))
        failing = group.create_task(_outcome(catalog.write(fail_half_way)))
        last = group.create_task(catalog.write(partial(_pin, number=2)))
        await _all_handed_over()
    assert isinstance(failing.result(), ZeroDivisionError)
    assert first.result() is last.result() is None
    assert await asked(catalog, PINNED) == [str(_digest(0)), str(_digest(2))]


async def test_what_ends_the_shared_transaction_fails_them_all(catalog: Catalog) -> None:
    """Promise 3: nobody is told of a commit that did not come."""

    def fill_up(transaction: Transaction) -> None:
        pages = transaction.execute(text("PRAGMA page_count")).scalar_one()
        transaction.execute(text(f"PRAGMA max_page_count = {pages}"))
        for number in range(1000, 9000):
            _pin(transaction, number)

    async with asyncio.TaskGroup() as group, _writer_kept_busy(catalog):
        first = group.create_task(_outcome(catalog.write(partial(_pin, number=0))))
        full = group.create_task(_outcome(catalog.write(fill_up)))
        await _all_handed_over()
    assert isinstance(first.result(), StorageFull)
    assert isinstance(full.result(), StorageFull)
    assert await asked(catalog, PINNED) == []


async def test_a_write_that_wants_to_be_alone_is(catalog: Catalog) -> None:
    """Promise 11: what it removes is judged by what is committed, and by nothing else."""
    sent = await _statements(catalog)
    async with asyncio.TaskGroup() as group, _writer_kept_busy(catalog):
        group.create_task(catalog.write(partial(_pin, number=0)))
        group.create_task(catalog.write(partial(_pin, number=1), alone=True))
        group.create_task(catalog.write(partial(_pin, number=2)))
        await _all_handed_over()
    assert await asked(catalog, PINNED) == [str(_digest(number)) for number in range(3)]
    assert sent.count("COMMIT") == 4


async def test_a_caller_that_gave_up_waits_for_its_write(catalog: Catalog) -> None:
    """Promise 9: when it is told that it was cancelled, the write is done, and works no more."""
    async with asyncio.TaskGroup() as group, _writer_kept_busy(catalog):
        queued = group.create_task(catalog.write(partial(_pin, number=0)))
        await _all_handed_over()
        queued.cancel()
        await _all_handed_over()
        assert not queued.done()
    assert queued.cancelled()
    assert await asked(catalog, PINNED) == [str(_digest(0))]


@pytest.mark.parametrize(
    ("durable", "levels"), [(True, ["NORMAL", "FULL"]), (False, ["OFF", "OFF"])]
)
async def test_only_writes_that_ask_for_it_wait_for_the_disk(
    tmp_path: Path, durable: bool, levels: list[str]
) -> None:
    """Promise 3: links do; a pin that power loss takes is missed by nobody."""
    path = tmp_path / "catalog.sqlite"
    async with open_catalog(path, durable=durable) as catalog:
        names = ["OFF", "NORMAL", "FULL"]

        def level(transaction: Transaction) -> str:
            number: int = transaction.execute(text("PRAGMA synchronous")).scalar_one()
            return names[number]

        assert [await catalog.write(level, synced=synced) for synced in (False, True)] == levels


async def _outcome(write: Awaitable[None]) -> Exception | None:
    try:
        await write
    except Exception as error:  # noqa: BLE001 it is what the test looks at
        return error
    return None
