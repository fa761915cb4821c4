"""Downloads that go on after a break, by Range, and verify what came."""

from __future__ import annotations

import asyncio
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, BinaryIO

from blobd.client.errors import ClientError, DigestWrong, Unreachable
from blobd.client.facts import Blob, Progress
from blobd.client.hashes import Hash
from blobd.client.patience import Patience, patiently
from blobd.digest import Span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from blobd.client.facts import ProgressCallback
    from blobd.client.patience import Retries
    from blobd.client.requests import Requests
    from blobd.digest import Digest

_PIECE_BYTES = 1024 * 1024


async def read_span(
    requests: Requests, digest: Digest, span: Span, retries: Retries
) -> AsyncGenerator[bytes, None]:
    """Yield exactly the bytes of `span`, over as many connections as it takes.

    Raises ClientError; NotFound also when the blob is deleted meanwhile.
    """
    patience = Patience(retries)
    at = span.start
    while at < span.stop:
        try:
            async with (
                requests.open(digest, Span(at, span.stop)) as answer,
                aclosing(answer) as pieces,
            ):
                async for piece in pieces:
                    at += len(piece)
                    patience.moved_on()
                    yield piece
            if at < span.stop:
                raise Unreachable(f"the download of {digest} ended at byte {at} of {span.stop}")
        except ClientError as error:
            await patience.bear(error)


async def read_whole(
    requests: Requests, digest: Digest, retries: Retries
) -> AsyncGenerator[bytes, None]:
    """Yield a blob from its first byte to its last; end with DigestWrong if they are not its."""
    hashing = Hash(digest.algorithm)
    size_bytes = await patiently(retries, requests.stat, digest)
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(1, thread_name_prefix="blobd-read")
    try:
        async with aclosing(read_span(requests, digest, Span(0, size_bytes), retries)) as pieces:
            async for piece in pieces:
                await loop.run_in_executor(worker, hashing.update, piece)
                yield piece
    finally:
        worker.shutdown(wait=False)
    if hashing.digest() != digest:
        raise DigestWrong(digest, hashing.digest())


async def pull(
    requests: Requests,
    digest: Digest,
    to: Path,
    *,
    retries: Retries,
    progress: ProgressCallback | None,
) -> Blob:
    """Fetch a blob into the file `to`, which appears whole and verified or not at all.

    Bytes gather in a hidden file beside it, and stay there when the pull fails or is cancelled:
    the next pull of that blob to that place goes on from them. Raises ClientError, DigestWrong
    (then they are removed), DigestUnsupported, OSError.
    """
    hashing = Hash(digest.algorithm)
    size_bytes = await patiently(retries, requests.stat, digest)
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(1, thread_name_prefix="blobd-pull")
    target = _Target(to, digest, size_bytes, hashing)
    try:
        await loop.run_in_executor(worker, target.open)
        span = Span(hashing.hashed_bytes, size_bytes)
        async with aclosing(read_span(requests, digest, span, retries)) as pieces:
            async for piece in pieces:
                _report(progress, hashing.hashed_bytes, size_bytes)
                await loop.run_in_executor(worker, target.append, piece)
        await loop.run_in_executor(worker, target.publish)
        _report(progress, size_bytes, size_bytes)
        return Blob(digest, size_bytes)
    finally:
        # Whoever pulls next must find the file unlocked, also after a cancellation.
        closing = loop.run_in_executor(worker, target.close)
        worker.shutdown(wait=False)
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait([closing])
            raise


class _Target:
    """The file that is being filled, and the hash of what is in it. Used on one thread."""

    def __init__(self, to: Path, digest: Digest, size_bytes: int, hashing: Hash) -> None:
        self._to = to
        self._partial = to.with_name(f".{to.name}.{digest.encoded[:16]}.part")
        self._digest = digest
        self._size_bytes = size_bytes
        self._hash = hashing
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Hash what an earlier pull left, and stand at its end."""
        self._partial.touch()
        self._file = file = self._partial.open("r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            error.filename = str(self._partial)
            error.strerror = "another pull is filling this file"
            raise
        if os.fstat(file.fileno()).st_size > self._size_bytes:
            file.truncate(0)
        while piece := file.read(_PIECE_BYTES):
            self._hash.update(piece)

    def append(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[self._opened.write(rest) :]
        self._hash.update(piece)

    def publish(self) -> None:
        """Put the file in its place. Raises DigestWrong, with the file removed."""
        computed = self._hash.digest()
        if computed != self._digest:
            self._partial.unlink()
            raise DigestWrong(self._digest, computed)
        self._partial.replace(self._to)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("append before open")
        return self._file


def _report(progress: ProgressCallback | None, done_bytes: int, total_bytes: int) -> None:
    if progress is not None:
        progress(Progress(done_bytes, total_bytes))
