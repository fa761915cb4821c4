"""Reading and writing what may block for ever: pipes, FIFOs, terminals, sockets, devices.

No thread waits for the other end. The event loop does, so that a cancellation (Ctrl-C) ends at
once; a thread then moves what can be moved without waiting. Flags of a descriptor are left alone:
standard input and output are shared with other processes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import select
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from concurrent.futures import Future, ThreadPoolExecutor

READ_BYTES = 1024 * 1024
_NEVER_BLOCKS_BYTES = select.PIPE_BUF
"""A pipe that poll calls writable takes so many bytes without waiting (POSIX, `write`)."""
_READER_POLL_S = 0.02
_MAX_LINKS = 40  # as the kernel
_OWN_DESCRIPTORS = re.compile(r"/proc/([0-9]+)(?:/task/[0-9]+)?/fd")


def own_descriptor(path: Path | str) -> int | None:
    """Return the descriptor of this process that a path names, as /dev/stdin or /dev/fd/63 do.

    Opening such a path fails for a socket, and forgets how far a file was read or written.
    """
    text = os.fspath(path)
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(text)
        match = _OWN_DESCRIPTORS.fullmatch(os.path.realpath(folder))
        if match is not None and int(match[1]) == os.getpid() and name.isdigit():
            return int(name)
        try:
            text = os.path.join(folder, os.readlink(text))  # noqa: PTH118, PTH115 - may be relative
        except OSError:
            return None
    return None


async def pieces(fd: int, worker: ThreadPoolExecutor) -> AsyncGenerator[bytes, None]:
    """Yield what a descriptor gives until its end, in pieces of up to 1 MiB. Raises OSError."""
    loop = asyncio.get_running_loop()
    while True:
        piece, ended = await loop.run_in_executor(worker, _read_ready, fd)
        if piece:
            yield piece
        if ended:
            return
        if len(piece) < READ_BYTES:
            await _readiness(fd, writing=False)


async def write_all(fd: int, piece: bytes, worker: ThreadPoolExecutor) -> None:
    """Write a piece, waiting for the reader as long as it takes. Raises OSError."""
    loop = asyncio.get_running_loop()
    rest = memoryview(piece)
    while rest:
        rest = rest[await loop.run_in_executor(worker, _write_ready, fd, rest) :]
        if rest:
            await _readiness(fd, writing=True)


@asynccontextmanager
async def opened(
    target: Path | str | int, flags: int, worker: ThreadPoolExecutor
) -> AsyncIterator[int]:
    """Open a path, or use an open descriptor (an int, or a path that names one) from where it is.

    A FIFO that nobody reads from yet is waited for when it is to be written. If cancelled, nothing
    stays open. Raises OSError.
    """
    while True:
        opening = worker.submit(_open, target, flags)
        try:
            fd = await asyncio.shield(asyncio.wrap_future(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_close_result)
            raise
        if fd is not None:
            break
        await asyncio.sleep(_READER_POLL_S)
    try:
        yield fd
    finally:
        worker.submit(os.close, fd)


def _open(target: Path | str | int, flags: int) -> int | None:
    """Open; return None for a FIFO that has no reader yet."""
    if isinstance(target, int):
        return os.dup(target)
    named = own_descriptor(target)
    if named is not None:
        return os.dup(named)
    try:
        return os.open(target, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO and Path(target).is_fifo():
            return None
        raise


def _close_result(opening: Future[int | None]) -> None:
    if opening.exception() is None:
        fd = opening.result()
        if fd is not None:
            os.close(fd)


def _read_ready(fd: int) -> tuple[bytes, bool]:
    """Return what can be read at once, up to READ_BYTES, and whether that was the end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    taken = bytearray()
    while len(taken) < READ_BYTES and poll.poll(0):
        try:
            piece = os.read(fd, READ_BYTES - len(taken))
        except BlockingIOError:  # another thread was faster
            break
        if not piece:
            return bytes(taken), True
        taken += piece
    return bytes(taken), False


def _write_ready(fd: int, data: memoryview) -> int:
    """Write what can be written at once; return its bytes."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    mode = os.fstat(fd).st_mode
    endless = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
    step_bytes = _NEVER_BLOCKS_BYTES if endless else len(data)
    written = 0
    while written < len(data) and poll.poll(0):
        try:
            written += os.write(fd, data[written : written + step_bytes])
        except BlockingIOError:
            break
    return written


async def _readiness(fd: int, *, writing: bool) -> None:
    """Wait until a descriptor can be read or written; files and many devices always can."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    )

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        add(fd, settle)
    except PermissionError:  # epoll's word for a file that is always ready
        return
    try:
        await ready
    finally:
        remove(fd)
