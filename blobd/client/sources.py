"""Where a push takes its bytes from: a file, a pipe, bytes in memory, or an async source.

A source hands out pieces at the offset it is asked for, as a dropped connection may ask for some
of them again, and hashes every byte once, on the way. File and hash are worked on by one thread of
the source's own, so that a call which was abandoned half-way ends before the next one begins.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections import deque
from collections.abc import AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from blobd.client import descriptors
from blobd.client.errors import SourceChanged, SourceSpent
from blobd.client.hashes import Hash
from blobd.digest import Span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blobd.digest import Digest

    T = TypeVar("T")

PIECE_BYTES = 1024 * 1024
STREAM_CHUNK_BYTES = 16 * 1024 * 1024

Bytes = Path | str | int | bytes | AsyncIterable[bytes]
"""What can be pushed: a path, a descriptor, the bytes themselves, or what yields pieces."""


class Source(Protocol):
    """Bytes on their way out."""

    @property
    def size_bytes(self) -> int | None:
        """The size of the whole; None while an async source has not ended."""
        ...

    @property
    def rewindable(self) -> bool:
        """Whether every byte can be asked for again: always, or still."""
        ...

    async def next_chunk(self, at: int) -> Span | None:
        """Return the bytes to send in one request from `at`; None at the end.

        What lies before `at` is safe on the server and will not be asked for again by a caller
        who wants to keep an async source's memory bounded. Raises SourceSpent.
        """
        ...

    async def read(self, at: int) -> bytes:
        """Return a piece that starts at `at`. If cancelled, it can be asked for again."""
        ...

    async def digest(self) -> Digest:
        """Return the digest of all bytes, from the first to the last."""
        ...

    async def confirm(self) -> None:
        """Raise SourceChanged where the bytes handed out may be a mixture of old and new."""
        ...


@asynccontextmanager
async def opened(
    given: Bytes, *, algorithm: str | None, chunk_bytes: int | None
) -> AsyncIterator[Source]:
    """Open what was given. `algorithm` None: the digest is known already, nothing is hashed.

    Raises OSError for a file that cannot be opened or read, DigestUnsupported.
    """
    hashing = Hash(algorithm) if algorithm is not None else None
    worker = ThreadPoolExecutor(1, thread_name_prefix="blobd-push")

    def stream(pieces: AsyncIterable[bytes]) -> StreamSource:
        return StreamSource(pieces, hashing, worker, chunk_bytes or STREAM_CHUNK_BYTES)

    try:
        if isinstance(given, bytes):
            yield SeekableSource(_slicer(given), len(given), hashing, worker, chunk_bytes)
        elif isinstance(given, Path | str | int):
            async with descriptors.opened(given, os.O_RDONLY, worker) as fd:
                loop = asyncio.get_running_loop()
                file = await loop.run_in_executor(worker, RegularFile.behind, fd, given)
                if file is None:
                    async with aclosing(descriptors.pieces(fd, worker)) as pieces:
                        yield stream(pieces)
                else:
                    yield SeekableSource(
                        file.read, file.size_bytes, hashing, worker, chunk_bytes, file.confirm
                    )
        else:
            yield stream(given)
    finally:
        worker.shutdown(wait=False)


class RegularFile:
    """A file whose size can be believed, and which can be read anywhere, as it was when opened."""

    def __init__(self, fd: int, facts: os.stat_result) -> None:
        self._fd = fd
        self._facts = facts
        self.size_bytes = facts.st_size

    @classmethod
    def behind(cls, fd: int, given: Path | str | int) -> RegularFile | None:
        """Return the file that was opened; None for what can only be read in order.

        That is a pipe, a FIFO, a device, a file of which the front was read already, and the files
        of /proc, which have bytes and the size 0. Raises IsADirectoryError. Blocks.
        """
        facts = os.fstat(fd)
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(given))
        if not stat.S_ISREG(facts.st_mode) or os.lseek(fd, 0, os.SEEK_CUR) != 0:
            return None
        if facts.st_size == 0 and os.pread(fd, 1, 0):
            return None
        return cls(fd, facts)

    def read(self, at: int, size_bytes: int) -> bytes:
        return os.pread(self._fd, size_bytes, at)

    def confirm(self) -> None:
        """Raise SourceChanged if the file was written to since it was opened. Blocks."""
        facts = os.fstat(self._fd)
        if facts.st_size != self.size_bytes:
            raise SourceChanged(
                f"the file had {self.size_bytes} bytes when its push began and has "
                f"{facts.st_size} now; push it again when nobody writes to it"
            )
        if facts.st_mtime_ns != self._facts.st_mtime_ns:
            raise SourceChanged(
                "the file was written to while it was pushed; "
                "push it again when nobody writes to it"
            )


def _slicer(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, size: data[at : at + size]


class SeekableSource:
    """A file or bytes in memory; reads one piece ahead while the last one is being sent."""

    rewindable = True

    def __init__(
        self,
        pread: Callable[[int, int], bytes],
        size_bytes: int,
        hashing: Hash | None,
        worker: ThreadPoolExecutor,
        chunk_bytes: int | None,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        self._pread = pread
        self._confirm = confirm
        self.size_bytes = size_bytes
        self._hash = hashing
        self._worker = worker
        self._chunk_bytes = chunk_bytes or max(size_bytes, 1)
        self._ahead: tuple[int, asyncio.Future[bytes]] | None = None

    async def next_chunk(self, at: int) -> Span | None:
        if at > self.size_bytes:
            raise SourceSpent(
                f"the upload stands at byte {at}, the source has only {self.size_bytes}; "
                "it is another source's upload"
            )
        if at == self.size_bytes:
            return None
        return Span(at, min(at + self._chunk_bytes, self.size_bytes))

    async def read(self, at: int) -> bytes:
        ahead, self._ahead = self._ahead, None
        reading = ahead[1] if ahead is not None and ahead[0] == at else self._reading(at)
        piece = await reading
        if at + len(piece) < self.size_bytes:
            self._ahead = (at + len(piece), self._reading(at + len(piece)))
        return piece

    async def digest(self) -> Digest:
        hashing = self._hash
        if hashing is None:
            raise ValueError("this source was opened without an algorithm")
        while hashing.hashed_bytes < self.size_bytes:
            await self._reading(hashing.hashed_bytes)
        return hashing.digest()

    async def confirm(self) -> None:
        if self._confirm is not None:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._confirm)

    def _reading(self, at: int) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._worker, self._read_and_hash, at)

    def _read_and_hash(self, at: int) -> bytes:
        wanted_bytes = min(PIECE_BYTES, self.size_bytes - at)
        piece = self._pread(at, wanted_bytes)
        if not piece:
            raise SourceChanged(
                f"the source ended at byte {at}; it had {self.size_bytes} bytes when it was opened"
            )
        if self._hash is not None:
            self._hash.update_at(at, piece)
        return piece


class StreamSource:
    """Bytes that come once, in order: of an async source, a pipe, a device.

    Keeps the chunk that the server has not acknowledged yet, and no more.
    """

    def __init__(
        self,
        pieces: AsyncIterable[bytes],
        hashing: Hash | None,
        worker: ThreadPoolExecutor,
        chunk_bytes: int,
    ) -> None:
        self._pieces = aiter(pieces)
        self._hash = hashing
        self._worker = worker
        self._chunk_bytes = chunk_bytes
        self._kept: deque[bytes] = deque()
        self._kept_from = 0
        self._taken_bytes = 0
        self.size_bytes: int | None = None

    @property
    def rewindable(self) -> bool:
        return self._kept_from == 0

    async def next_chunk(self, at: int) -> Span | None:
        self._drop_before(at)
        while self.size_bytes is None and self._taken_bytes < at + self._chunk_bytes:
            await self._take()
            self._drop_before(at)
        if at > self._taken_bytes:
            raise SourceSpent(
                f"the upload stands at byte {at}, the source ended at {self._taken_bytes}"
            )
        return Span(at, self._taken_bytes) if at < self._taken_bytes else None

    async def read(self, at: int) -> bytes:
        start = self._kept_from
        for piece in self._kept:
            if start <= at < start + len(piece):
                return piece[at - start :]
            start += len(piece)
        raise SourceSpent(f"byte {at} of the source has been discarded")

    async def digest(self) -> Digest:
        if self._hash is None:
            raise ValueError("this source was opened without an algorithm")
        while self.size_bytes is None:
            await self._take()
        return self._hash.digest()

    async def confirm(self) -> None:
        """What comes once cannot change between two readings."""

    async def _take(self) -> None:
        try:
            piece = bytes(await anext(self._pieces))
        except StopAsyncIteration:
            self.size_bytes = self._taken_bytes
            return
        if self._hash is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._worker, self._hash.update, piece)
        if piece:
            self._kept.append(piece)
            self._taken_bytes += len(piece)

    def _drop_before(self, at: int) -> None:
        if at < self._kept_from:
            raise SourceSpent(
                f"the server fell back to byte {at}, and a stream cannot be read again: "
                f"only its bytes from {self._kept_from} on are kept"
            )
        while self._kept and self._kept_from + len(self._kept[0]) <= at:
            self._kept_from += len(self._kept.popleft())
