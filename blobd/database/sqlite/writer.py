"""The one writer of a process: what arrives while it writes goes into one transaction together.

So one commit, and one fsync, answers for many. Each work has a savepoint of its own: one that
raises is undone alone. No work is answered before the commit that makes it last.

SQLite lets one process write at a time, but wakes nobody: who waits tries again, the longer the
less often. So the writers of several processes queue at a lock file, where the kernel lets them
in by turns; more gathers for each turn, and none starves. SQLite's own waiting is left for who
does not queue, such as a shell. A process that is frozen in the middle of a write keeps the other
writers waiting until it goes on or dies; reads go on.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from blobd.database.sqlite.transaction import SqliteTransaction
    from blobd.database.transaction import Transaction

BATCH_MAX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What is to be written, and who waits for it."""

    do: Callable[[Transaction], Any]
    answer: asyncio.Future[Any]
    alone: bool
    """Whether it wants a transaction of its own."""
    synced: bool
    """Whether it has to survive power loss before it is answered."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    work: Work
    result: Any = None
    error: Exception | None = None


class Writer:
    """Takes works from the event loop, and does them on the thread that calls `run`."""

    def __init__(self, transaction: SqliteTransaction, *, turn_fd: int, durable: bool) -> None:
        """`turn_fd`: the lock file, open; the caller closes it when `run` has returned."""
        self._transaction = transaction
        self._driver = transaction.driver
        self._turn_fd = turn_fd
        self._durable = durable
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._synced: bool | None = None

    def hand_over(self, work: Work) -> None:
        """Queue a work; its answer comes when it is committed, or when it has failed."""
        self._queue.put(work)

    def end(self) -> None:
        """Let `run` return when all that was handed over is done."""
        self._queue.put(None)

    def run(self) -> None:
        """Write until the end. Blocks."""
        for batch in self._batches():
            outcomes = self._write(batch)
            batch[0].answer.get_loop().call_soon_threadsafe(_answer, outcomes)

    def _batches(self) -> Iterator[list[Work]]:
        """Yield all that is waiting, again and again."""
        batch: list[Work] = []
        while True:
            try:
                work = self._queue.get(block=not batch)
            except Empty:
                yield batch
                batch = []
                continue
            if batch and (work is None or work.alone or len(batch) == BATCH_MAX):
                yield batch
                batch = []
            if work is None:
                return
            if work.alone:
                yield [work]
            else:
                batch.append(work)

    def _write(self, batch: list[Work]) -> list[_Outcome]:
        """Do works in one transaction. What ends the transaction fails them all."""
        try:
            self._sync(synced=self._durable and any(work.synced for work in batch))
            with self._turn():
                return self._transact(batch)
        except Exception as error:  # noqa: BLE001 raised in the caller that waits for it
            return [_Outcome(work, error=error) for work in batch]

    def _transact(self, batch: list[Work]) -> list[_Outcome]:
        # SQLite's write lock is taken first, so that no work can fail for having read before
        self._driver.execute("BEGIN IMMEDIATE")
        try:
            if len(batch) == 1:
                outcomes = [_Outcome(batch[0], batch[0].do(self._transaction))]
            else:
                outcomes = [self._do_apart(work) for work in batch]
            self._driver.execute("COMMIT")
        except Exception:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
            raise
        return outcomes

    def _do_apart(self, work: Work) -> _Outcome:
        self._driver.execute("SAVEPOINT work")
        try:
            outcome = _Outcome(work, work.do(self._transaction))
        except Exception as error:
            if not self._driver.in_transaction:  # SQLite gives up all of it when the disk is full
                raise
            self._driver.execute("ROLLBACK TO work")
            outcome = _Outcome(work, error=error)
        self._driver.execute("RELEASE work")
        return outcome

    def _sync(self, *, synced: bool) -> None:
        """Let the next commit wait for the disk, or not."""
        if synced != self._synced:
            # NORMAL writes in the same order, and leaves the syncing to the next FULL commit
            level = "FULL" if synced else "NORMAL" if self._durable else "OFF"
            self._driver.execute(f"PRAGMA synchronous = {level}")
            self._synced = synced

    @contextmanager
    def _turn(self) -> Iterator[None]:
        fcntl.flock(self._turn_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn_fd, fcntl.LOCK_UN)


def _answer(outcomes: list[_Outcome]) -> None:
    for outcome in outcomes:
        answer = outcome.work.answer
        if answer.done():
            continue
        if outcome.error is None:
            answer.set_result(outcome.result)
        else:
            answer.set_exception(outcome.error)
