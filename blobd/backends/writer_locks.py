"""One writer per upload within a process, and the newest asker wins (B5).

A request that wants an upload which another one is writing asks that writer to let go and waits in
line. The line has one place: a newer request takes it, and the one before is turned away. Other
processes are unknown here.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import UploadBusy, UploadOvertaken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Offset = Callable[[], int]


@dataclass(slots=True)
class _Slot:
    """The writer of an upload, and the one that waits to be."""

    writer: WriterLock | None = None
    successor: asyncio.Future[bool] | None = None
    """Done with True when the writer has let go, with False when a newer asker has come."""


class WriterLocks:
    """The writers of all uploads. For one event loop."""

    def __init__(self, *, wait_s: float) -> None:
        self.wait_s = wait_s
        """How long an asker waits for a writer to let go."""
        self._slots: dict[str, _Slot] = {}

    def taken(self, upload_id: str) -> bool:
        """Whether an upload has a writer."""
        slot = self._slots.get(upload_id)
        return slot is not None and slot.writer is not None

    async def take(self, upload_id: str, *, offset: Offset) -> WriterLock:
        """Become an upload's writer; `offset` is reported to a request that is turned away.

        Raises UploadBusy, UploadOvertaken. If cancelled, nothing is held.
        """
        slot = self._slots.setdefault(upload_id, _Slot())
        if slot.writer is not None:
            await self._wait(upload_id, slot, slot.writer, offset)
        slot.writer = WriterLock(self, upload_id, offset)
        return slot.writer

    async def _wait(self, upload_id: str, slot: _Slot, writer: WriterLock, offset: Offset) -> None:
        if slot.successor is not None and not slot.successor.done():
            slot.successor.set_result(False)
        slot.successor = waiting = asyncio.get_running_loop().create_future()
        writer.lose()
        try:
            async with asyncio.timeout(self.wait_s):
                let_go = await waiting
        except TimeoutError:
            raise UploadBusy(upload_id, self.wait_s) from None
        if not let_go or slot.writer is not None:
            raise UploadOvertaken(upload_id, offset())

    def _let_go(self, lock: WriterLock) -> None:
        slot = self._slots.get(lock.upload_id)
        if slot is None or slot.writer is not lock:
            return
        slot.writer = None
        if slot.successor is not None and not slot.successor.done():
            slot.successor.set_result(True)
        else:
            del self._slots[lock.upload_id]


class WriterLock:
    """The right to write one upload, until a newer request asks for it."""

    def __init__(self, locks: WriterLocks, upload_id: str, offset: Offset) -> None:
        self.upload_id = upload_id
        self._locks = locks
        self._offset = offset
        self._lost = False
        self._over = False
        self._guarded: asyncio.Task[object] | None = None

    def check(self) -> None:
        """Raise UploadOvertaken unless this is the writer, unasked to let go."""
        if self._lost or self._over:
            raise self.overtaken()

    def overtaken(self) -> UploadOvertaken:
        """Return what to raise when the upload is another's."""
        return UploadOvertaken(self.upload_id, self._offset())

    def lose(self) -> None:
        """Notify the writer that another one wants the upload, or has it."""
        if not self._lost:
            self._lost = True
            if self._guarded is not None:
                self._guarded.cancel()

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Within: if the lock is lost, the waiting task is interrupted with UploadOvertaken."""
        self.check()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a guard needs a task to interrupt")
        cancellations = task.cancelling()
        self._guarded = task
        try:
            yield
        except asyncio.CancelledError as error:
            if self._lost and task.cancelling() == cancellations + 1:
                raise self.overtaken() from error
            raise
        finally:
            self._guarded = None
            if self._lost:
                task.uncancel()

    def release(self) -> None:
        """Let go. Idempotent."""
        self._over = True
        self._locks._let_go(self)
