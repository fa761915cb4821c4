"""What the tests of backends do again and again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import blake3

from blobd.backends.base import FileSource, StreamSource
from blobd.digest import Digest, Span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blobd.backends.base import Backend, Buffer, Source, Staging

P = ParamSpec("P")
T = TypeVar("T")

SOON_S = 20.0
"""How long a test waits for what must happen at once, before it fails instead of hanging."""


sizes_bytes: dict[str, int] = {}
"""Of everything that `digest_of` has seen in this process."""


async def off_loop(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking look at the storage on a thread."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, partial(call, *args, **kwargs))


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop and the threads go on until something holds that tells nobody when it does."""
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    made = blake3.blake3(data) if algorithm == "blake3" else hashlib.new(algorithm, data)
    digest = Digest(algorithm, made.hexdigest())
    sizes_bytes[str(digest)] = len(data)
    return digest


async def begin(backend: Backend, memo: bytes = b"memo") -> str:
    """Begin an upload; return its id."""
    return (await backend.begin(secrets.token_hex(16), memo)).upload_id


@asynccontextmanager
async def staged(backend: Backend, upload_id: str | None = None) -> AsyncIterator[Staging]:
    """Be the writer of an upload, of a new one if none is named."""
    staging = await backend.stage(upload_id or await begin(backend))
    try:
        yield staging
    finally:
        await staging.aclose()


async def guarded_for_ever(staging: Staging, inside: asyncio.Event) -> None:
    """Wait within a guard, for nothing."""
    async with staging.guard():
        inside.set()
        await asyncio.Event().wait()


async def store(backend: Backend, data: bytes, algorithm: str = "sha256") -> Digest:
    """Upload and commit a blob."""
    digest = digest_of(data, algorithm)
    async with staged(backend) as staging:
        await staging.append([data])
        await staging.commit(digest)
    return digest


async def joined(pieces: AsyncIterator[Buffer]) -> bytes:
    """Return all pieces as one."""
    return b"".join([bytes(piece) async for piece in pieces])


async def read(source: Source, span: Span | None = None) -> bytes:
    """Return a span of an open source, of everything if none is given."""
    span = span or Span(0, source.size_bytes)
    if isinstance(source, FileSource):
        return await off_loop(os.pread, source.fd, span.size_bytes, span.start)
    assert isinstance(source, StreamSource)
    return await joined(source.read(span))


async def fetch(backend: Backend, digest: Digest) -> bytes:
    """Open, read and close a blob."""
    source = await backend.open(digest)
    try:
        return await read(source)
    finally:
        await source.aclose()


async def listed(backend: Backend, after: Digest | None = None) -> list[Digest]:
    """Return the digests of a listing of blobs."""
    return [info.digest async for info in backend.blobs(after=after)]
