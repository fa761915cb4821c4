"""Downloads that go on after a break, by Range, and verify what came."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING

from blobd.client import descriptors
from blobd.client.backoff import Patience, patiently
from blobd.client.errors import ClientError, DigestWrong, Unreachable
from blobd.client.hashes import Hash
from blobd.client.models import Blob, Progress
from blobd.client.targets import ReplacedFile, file_to_replace
from blobd.digest import Span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from blobd.client.backoff import Retries
    from blobd.client.models import ProgressCallback
    from blobd.client.requests import Requests
    from blobd.digest import Digest


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
    to: Path | str | int,
    *,
    retries: Retries,
    progress: ProgressCallback | None,
) -> Blob:
    """Fetch a blob into the file `to`, which appears whole and verified or not at all.

    Bytes gather in a hidden file beside it, and stay there when the pull fails or is cancelled:
    the next pull of that blob to that place goes on from them. What is no regular file is written
    to in order instead (see `targets.py`). Raises ClientError, DigestWrong (then the hidden file is
    removed; what was written in order was), DigestUnsupported, OSError.
    """
    hashing = Hash(digest.algorithm)
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(1, thread_name_prefix="blobd-pull")
    try:
        place = await loop.run_in_executor(worker, file_to_replace, to)
        size_bytes = await patiently(retries, requests.stat, digest)

        async def pieces_left() -> AsyncGenerator[bytes, None]:
            span = Span(hashing.hashed_bytes, size_bytes)
            async with aclosing(read_span(requests, digest, span, retries)) as pieces:
                async for piece in pieces:
                    _report(progress, hashing.hashed_bytes, size_bytes)
                    yield piece

        async with aclosing(pieces_left()) as pieces:
            if place is None:
                await _write_in_order(pieces, to, digest, hashing, worker)
            else:
                target = ReplacedFile(place, digest, size_bytes, hashing)
                await _replace(pieces, target, worker)
        _report(progress, size_bytes, size_bytes)
        return Blob(digest, size_bytes)
    finally:
        worker.shutdown(wait=False)


async def _replace(
    pieces: AsyncGenerator[bytes, None], target: ReplacedFile, worker: ThreadPoolExecutor
) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(worker, target.open)
        async for piece in pieces:
            await loop.run_in_executor(worker, target.append, piece)
        await loop.run_in_executor(worker, target.publish)
    finally:
        # The next pull must find the file unlocked, also after a cancellation.
        closing = loop.run_in_executor(worker, target.close)
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait([closing])
            raise


async def _write_in_order(
    pieces: AsyncGenerator[bytes, None],
    to: Path | str | int,
    digest: Digest,
    hashing: Hash,
    worker: ThreadPoolExecutor,
) -> None:
    loop = asyncio.get_running_loop()
    async with descriptors.opened(to, os.O_WRONLY, worker) as fd:
        async for piece in pieces:
            await loop.run_in_executor(worker, hashing.update, piece)
            await descriptors.write_all(fd, piece, worker)
    if hashing.digest() != digest:
        raise DigestWrong(digest, hashing.digest())


def _report(progress: ProgressCallback | None, done_bytes: int, total_bytes: int) -> None:
    if progress is not None:
        progress(Progress(done_bytes, total_bytes))
