"""Where a push takes its bytes from: a file, bytes in memory, or an async source.

A source hands out pieces at the offset it is asked for, as a dropped connection may ask for some
of them again, and hashes every byte once, on the way. File and hash are worked on by one thread of
the source's own, so that a call which was abandoned half-way is over before the next one begins.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from blobd.client.errors import SourceSpent
from blobd.client.hashes import Hash
from blobd.digest import Span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blobd.digest import Digest

    T = TypeVar("T")

PIECE_BYTES = 1024 * 1024
STREAM_CHUNK_BYTES = 16 * 1024 * 1024

Bytes = Path | str | bytes | AsyncIterable[bytes]
"""What can be pushed: a path, the bytes themselves, or something that yields pieces."""


class Source(Protocol):
    """Bytes on their way out."""

    @property
    def size_bytes(self) -> int | None:
        """The size of the whole; None while an async source has not ended."""
        ...

    @property
    def rewindable(self) -> bool:
        """Whether every byte can be asked for again."""
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


@asynccontextmanager
async def opened(
    given: Bytes, *, algorithm: str | None, chunk_bytes: int | None
) -> AsyncIterator[Source]:
    """Open what was given. `algorithm` None: the digest is known already, nothing is hashed.

    Raises OSError for a file that cannot be opened, DigestUnsupported.
    """
    hashing = Hash(algorithm) if algorithm is not None else None
    worker = ThreadPoolExecutor(1, thread_name_prefix="blobd-push")
    try:
        if isinstance(given, bytes):
            yield SeekableSource(_slicer(given), len(given), hashing, worker, chunk_bytes)
        elif isinstance(given, Path | str):
            fd = await _opened_fd(worker, given)
            try:
                yield SeekableSource(
                    lambda at, size: os.pread(fd, size, at),
                    os.fstat(fd).st_size,
                    hashing,
                    worker,
                    chunk_bytes,
                )
            finally:
                worker.submit(os.close, fd)
        else:
            yield StreamSource(given, hashing, worker, chunk_bytes or STREAM_CHUNK_BYTES)
    finally:
        worker.shutdown(wait=False)


async def _opened_fd(worker: ThreadPoolExecutor, path: Path | str) -> int:
    """Open a file on the thread; if cancelled meanwhile, it is closed again."""
    opening = worker.submit(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return await asyncio.shield(asyncio.wrap_future(opening))
    except asyncio.CancelledError:
        worker.submit(lambda: os.close(opening.result()))
        raise


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
    ) -> None:
        self._pread = pread
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

    def _reading(self, at: int) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._worker, self._read_and_hash, at)

    def _read_and_hash(self, at: int) -> bytes:
        wanted_bytes = min(PIECE_BYTES, self.size_bytes - at)
        piece = self._pread(at, wanted_bytes)
        if not piece:
            raise SourceSpent(
                f"the source ended at byte {at}; it had {self.size_bytes} bytes when it was opened"
            )
        if self._hash is not None:
            self._hash.update_at(at, piece)
        return piece


class StreamSource:
    """An async source, read once from its first byte.

    Keeps the chunk that the server has not acknowledged yet, and no more.
    """

    rewindable = False

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
        raise SourceSpent(f"byte {at} of the source is not kept any more")

    async def digest(self) -> Digest:
        if self._hash is None:
            raise ValueError("this source was opened without an algorithm")
        while self.size_bytes is None:
            await self._take()
        return self._hash.digest()

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
                f"the server fell back to byte {at}; "
                f"this source has kept nothing before {self._kept_from}"
            )
        while self._kept and self._kept_from + len(self._kept[0]) <= at:
            self._kept_from += len(self._kept.popleft())
