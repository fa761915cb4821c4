"""One writer per upload over all processes of a host, and the newest asker wins (B5).

The writer holds a kernel lock on the upload's folder; kill -9 frees it. A process that wants the
upload and finds it locked leaves a *claim* there, a symbolic link whose target is the time of
asking on the host's monotonic clock and the boot in which that clock runs, and tries again. The
writer looks for a newer claim before every write, and the watch looks for it while the writer
waits. Claims are removed only with the folder: an older one is simply too old to matter.

A process that finds the upload free leaves no claim. So a record holds the time at which its writer
asked, and an earlier asker that still waits finds there that its turn has passed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from blobd.errors import UploadOvertaken

_WATCH_INTERVAL_S = 0.04
CLAIM = "claim"


class Preempted(Exception):
    """A newer claim than one's own is there."""


class UploadLock:
    """The kernel lock on one folder, had or asked for. All methods block; run them on threads."""

    def __init__(self, folder: Path, boot: str) -> None:
        self._folder = folder
        self._boot = boot
        self._claim = folder / CLAIM
        self.asked_ns = time.monotonic_ns()
        self._fd = -1

    def try_take(self, before_asking: Callable[[], None]) -> bool:
        """Take the lock if it is free; else leave a claim and return False.

        Raises FileNotFoundError when the folder is gone, Preempted, and what `before_asking`
        raises, which is called before there is a claim.
        """
        if self._fd < 0:
            self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.check()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            before_asking()
            self._assert_claim()
            return False
        if self._folder.stat().st_ino != os.fstat(self._fd).st_ino:
            raise FileNotFoundError(str(self._folder))
        self.check()
        return True

    def check(self) -> None:
        """Raise Preempted when another request has asked after this one did."""
        if self._claimed_ns() > self.asked_ns:
            raise Preempted

    def release(self) -> None:
        """Give the lock back. Idempotent; never blocks."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _claimed_ns(self) -> int:
        try:
            asked_ns, _, boot = self._claim.readlink().name.partition("@")
            return int(asked_ns) if boot == self._boot else 0
        except (OSError, ValueError):
            return 0

    def _assert_claim(self) -> None:
        if self._claimed_ns() < self.asked_ns:
            mine = self._folder / f"{CLAIM}.{os.getpid()}.{id(self)}"
            with suppress(FileExistsError):
                mine.symlink_to(f"{self.asked_ns}@{self._boot}")
            mine.rename(self._claim)


@contextmanager
def nobody_writes(folder: Path) -> Iterator[bool]:
    """Within: whether the upload is without a writer, and if so kept from getting one.

    Never disturbs a writer; a process that wants to become one meanwhile waits. Raises OSError.
    Blocks.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


class PreemptionWatcher:
    """One thread that looks for newer claims on behalf of all waiting writers of a process."""

    def __init__(self) -> None:
        self._guards: set[PreemptionScope] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._look, name="blobd-watch", daemon=True)
        self._thread.start()

    def add(self, guard: PreemptionScope) -> None:
        with self._changed:
            self._guards.add(guard)
            if len(self._guards) == 1:
                self._changed.notify()

    def remove(self, guard: PreemptionScope) -> None:
        with self._changed:
            self._guards.discard(guard)

    def close(self) -> None:
        """End the thread; guard nothing after that."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._guards or self._closed)
                if self._closed:
                    return
                guards = list(self._guards)
            for guard in guards:
                guard.look()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _WATCH_INTERVAL_S)


class PreemptionScope:
    """Interrupts the task inside its `async with` when a newer claim appears."""

    def __init__(
        self,
        watch: PreemptionWatcher,
        ownership: UploadLock,
        overtaken: Callable[[], UploadOvertaken],
    ):
        self._watch = watch
        self._ownership = ownership
        self._overtaken = overtaken
        self._fired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a guard needs a task to interrupt")
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._inside = True
        # most uploads end before the watch would look for the first time
        self._timer = self._loop.call_later(_WATCH_INTERVAL_S, self._watch.add, self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside = False
        self._timer.cancel()
        self._watch.remove(self)
        if not self._fired:
            return
        interrupted = self._task.uncancel() <= self._cancelling
        if interrupted and kind is asyncio.CancelledError:
            raise self._overtaken() from error

    def look(self) -> None:
        """Called on the watch's thread."""
        try:
            self._ownership.check()
        except Preempted:
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self._inside and not self._fired:
            self._fired = True
            self._task.cancel()
