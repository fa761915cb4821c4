"""Backends around a backend: Metered, ReadOnly, Faulty.

Each spells out every method of the contract (see `base.py`), so that the type checker finds the
wrapper that forgot a new one.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.backends.base import StreamSource
from blobd.errors import BackendUnavailable, StorageLost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Iterable,
        Iterator,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager

    from blobd.backends.base import (
        Admits,
        Backend,
        BlobInfo,
        Buffer,
        Committed,
        Orphan,
        Record,
        Source,
        Staging,
    )
    from blobd.digest import Digest, Span
    from blobd.metrics import Metrics


class Metered:
    """Counts the time that a backend takes to write."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics

    async def begin(self, upload_id: str, memo: bytes) -> Record:
        with _timed(self._metrics):
            return await self._backend.begin(upload_id, memo)

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,
        untold: bool = False,
        provisional: bool = False,
    ) -> MeteredStaging:
        staging = await self._backend.stage(
            upload_id, admits=admits, untold=untold, provisional=provisional
        )
        return MeteredStaging(staging, self._metrics)

    async def peek(self, upload_id: str) -> Record:
        return await self._backend.peek(upload_id)

    async def forget(self, upload_id: str) -> None:
        await self._backend.forget(upload_id)

    async def stat(self, digest: Digest) -> int:
        return await self._backend.stat(digest)

    async def glance(self, digests: Sequence[Digest]) -> Sequence[int | None] | None:
        return await self._backend.glance(digests)

    async def measure(self, digest: Digest) -> int:
        return await self._backend.measure(digest)

    async def quarantine(self, digest: Digest) -> None:
        await self._backend.quarantine(digest)

    def quarantined(self) -> AsyncIterator[BlobInfo]:
        return self._backend.quarantined()

    async def open(self, digest: Digest) -> Source:
        return await self._backend.open(digest)

    async def delete(self, digest: Digest) -> int:
        return await self._backend.delete(digest)

    def blobs(
        self, *, after: Digest | None = None, measured: bool = False
    ) -> AsyncIterator[BlobInfo]:
        return self._backend.blobs(after=after, measured=measured)

    def stagings(self) -> AsyncIterator[Record]:
        return self._backend.stagings()

    def orphans(
        self, *, deep: bool, remove: bool, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[Orphan]:
        return self._backend.orphans(deep=deep, remove=remove, clock=clock)

    async def free_bytes(self) -> int | None:
        return await self._backend.free_bytes()

    async def marker(self) -> str | None:
        return await self._backend.marker()

    async def mark(self, store_id: str, *, replace: bool = False) -> str:
        return await self._backend.mark(store_id, replace=replace)

    async def probe(self) -> None:
        await self._backend.probe()

    async def aclose(self) -> None:
        await self._backend.aclose()


class MeteredStaging:
    """The Staging of a Metered backend."""

    def __init__(self, staging: Staging, metrics: Metrics) -> None:
        self._staging = staging
        self._metrics = metrics

    @property
    def record(self) -> Record:
        return self._staging.record

    @property
    def offset(self) -> int:
        return self._staging.offset

    @property
    def trusted(self) -> bool:
        return self._staging.trusted

    async def append(self, pieces: Sequence[Buffer]) -> None:
        with _timed(self._metrics):
            await self._staging.append(pieces)

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:
        with _timed(self._metrics):
            await self._staging.checkpoint(memo, last=last)

    def read(self, span: Span) -> AsyncIterator[Buffer]:
        return self._staging.read(span)

    async def commit(self, digest: Digest) -> Committed:
        with _timed(self._metrics):
            return await self._staging.commit(digest)

    async def abort(self) -> None:
        await self._staging.abort()

    def guard(self) -> AbstractAsyncContextManager[None]:
        return self._staging.guard()

    async def aclose(self) -> None:
        await self._staging.aclose()


@contextmanager
def _timed(metrics: Metrics) -> Iterator[None]:
    started_s = time.perf_counter()
    try:
        yield
    finally:
        metrics.write_seconds.inc(time.perf_counter() - started_s)


class ReadOnly:
    """Refuses whatever would change something; there is never a writer."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def begin(self, upload_id: str, memo: bytes) -> Record:  # noqa: ARG002
        raise _read_only("no upload can begin")

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,  # noqa: ARG002
        untold: bool = False,  # noqa: ARG002
        provisional: bool = False,  # noqa: ARG002
    ) -> Staging:
        raise _read_only(f"upload {upload_id} cannot be written")

    async def peek(self, upload_id: str) -> Record:
        return await self._backend.peek(upload_id)

    async def forget(self, upload_id: str) -> None:
        raise _read_only(f"upload {upload_id} cannot be forgotten")

    async def stat(self, digest: Digest) -> int:
        return await self._backend.stat(digest)

    async def glance(self, digests: Sequence[Digest]) -> Sequence[int | None] | None:
        return await self._backend.glance(digests)

    async def measure(self, digest: Digest) -> int:
        return await self._backend.measure(digest)

    async def quarantine(self, digest: Digest) -> None:
        raise _read_only(f"blob {digest} cannot be kept aside")

    def quarantined(self) -> AsyncIterator[BlobInfo]:
        return self._backend.quarantined()

    async def open(self, digest: Digest) -> Source:
        return await self._backend.open(digest)

    async def delete(self, digest: Digest) -> int:
        raise _read_only(f"blob {digest} cannot be deleted")

    def blobs(
        self, *, after: Digest | None = None, measured: bool = False
    ) -> AsyncIterator[BlobInfo]:
        return self._backend.blobs(after=after, measured=measured)

    def stagings(self) -> AsyncIterator[Record]:
        return self._backend.stagings()

    def orphans(
        self, *, deep: bool, remove: bool, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[Orphan]:
        if remove:
            raise _read_only("nothing is removed")
        return self._backend.orphans(deep=deep, remove=False, clock=clock)

    async def free_bytes(self) -> int | None:
        return await self._backend.free_bytes()

    async def marker(self) -> str | None:
        return await self._backend.marker()

    async def mark(self, store_id: str, *, replace: bool = False) -> str:  # noqa: ARG002
        raise _read_only("the store cannot be marked")

    async def probe(self) -> None:
        raise _read_only("nothing can be written")

    async def aclose(self) -> None:
        await self._backend.aclose()


def _read_only(what: str) -> BackendUnavailable:
    return BackendUnavailable(f"the store is read-only for the time being: {what}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at the `call`-th call (from 1) of a verb, such as `append` or `delete`.

    The call waits for `stall`, then raises `error`, or goes on as usual if there is none. With
    `after_bytes` it moves that many bytes first: an append writes them, an opened stream and a
    staging's `read` yield them; these two then just end where there is no error. The calls of
    all stagings are counted together.
    """

    verb: str
    call: int = 1
    error: Exception | None = None
    after_bytes: int | None = None
    stall: asyncio.Event | None = None


class Faulty:
    """Fails on request, within what the contract allows, and otherwise behaves."""

    def __init__(self, backend: Backend, faults: Iterable[Fault] = ()) -> None:
        self._backend = backend
        self._faults = {(fault.verb, fault.call): fault for fault in faults}
        self.calls: Counter[str] = Counter()
        """How often each verb was called."""

    async def due(self, verb: str) -> Fault | None:
        """Count a call and let its fault happen; return a fault that is to come `after_bytes`."""
        self.calls[verb] += 1
        fault = self._faults.get((verb, self.calls[verb]))
        if fault is None:
            return None
        if fault.stall is not None:
            await fault.stall.wait()
        if fault.after_bytes is not None:
            return fault
        if fault.error is not None:
            raise fault.error
        return None

    async def begin(self, upload_id: str, memo: bytes) -> Record:
        await self.due("begin")
        return await self._backend.begin(upload_id, memo)

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,
        untold: bool = False,
        provisional: bool = False,
    ) -> FaultyStaging:
        await self.due("stage")
        staging = await self._backend.stage(
            upload_id, admits=admits, untold=untold, provisional=provisional
        )
        return FaultyStaging(self, self._backend, staging, provisional=provisional)

    async def peek(self, upload_id: str) -> Record:
        await self.due("peek")
        return await self._backend.peek(upload_id)

    async def forget(self, upload_id: str) -> None:
        await self.due("forget")
        await self._backend.forget(upload_id)

    async def stat(self, digest: Digest) -> int:
        await self.due("stat")
        return await self._backend.stat(digest)

    async def glance(self, digests: Sequence[Digest]) -> Sequence[int | None] | None:
        await self.due("glance")
        return await self._backend.glance(digests)

    async def measure(self, digest: Digest) -> int:
        await self.due("measure")
        return await self._backend.measure(digest)

    async def quarantine(self, digest: Digest) -> None:
        await self.due("quarantine")
        await self._backend.quarantine(digest)

    async def quarantined(self) -> AsyncIterator[BlobInfo]:
        await self.due("quarantined")
        async for info in self._backend.quarantined():
            yield info

    async def open(self, digest: Digest) -> Source:
        fault = await self.due("open")
        source = await self._backend.open(digest)
        if fault is None:
            return source
        if not isinstance(source, StreamSource):
            await source.aclose()
            raise TypeError("only a stream can be cut short; cut the stored file itself")
        return StreamSource(source.size_bytes, lambda span: _cut(source.read(span), fault))

    async def delete(self, digest: Digest) -> int:
        await self.due("delete")
        return await self._backend.delete(digest)

    async def blobs(
        self, *, after: Digest | None = None, measured: bool = False
    ) -> AsyncIterator[BlobInfo]:
        await self.due("blobs")
        async for info in self._backend.blobs(after=after, measured=measured):
            yield info

    async def stagings(self) -> AsyncIterator[Record]:
        await self.due("stagings")
        async for record in self._backend.stagings():
            yield record

    async def orphans(
        self, *, deep: bool, remove: bool, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[Orphan]:
        await self.due("orphans")
        async for orphan in self._backend.orphans(deep=deep, remove=remove, clock=clock):
            yield orphan

    async def free_bytes(self) -> int | None:
        await self.due("free_bytes")
        return await self._backend.free_bytes()

    async def marker(self) -> str | None:
        await self.due("marker")
        return await self._backend.marker()

    async def mark(self, store_id: str, *, replace: bool = False) -> str:
        await self.due("mark")
        return await self._backend.mark(store_id, replace=replace)

    async def probe(self) -> None:
        await self.due("probe")
        await self._backend.probe()

    async def aclose(self) -> None:
        await self._backend.aclose()


class FaultyStaging:
    """The Staging of a Faulty backend."""

    def __init__(
        self, faulty: Faulty, backend: Backend, staging: Staging, *, provisional: bool
    ) -> None:
        self._faulty = faulty
        self._backend = backend
        self._staging = staging
        self._provisional = provisional

    @property
    def record(self) -> Record:
        return self._staging.record

    @property
    def offset(self) -> int:
        return self._staging.offset

    @property
    def trusted(self) -> bool:
        return self._staging.trusted

    async def append(self, pieces: Sequence[Buffer]) -> None:
        try:
            fault = await self._faulty.due("append")
        except Exception:
            await self._back_to_record()
            raise
        if fault is not None and fault.error is not None:
            await self._staging.append(_first(pieces, fault.after_bytes or 0))
            await self._back_to_record()
            raise fault.error
        await self._staging.append(pieces)

    async def _back_to_record(self) -> None:
        """Cut what an append has written before it failed, as staging again does."""
        await self._staging.aclose()
        self._staging = await self._backend.stage(
            self.record.upload_id, provisional=self._provisional
        )

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:
        await self._faulty.due("checkpoint")
        await self._staging.checkpoint(memo, last=last)

    async def read(self, span: Span) -> AsyncIterator[Buffer]:
        fault = await self._faulty.due("read")
        pieces = self._staging.read(span)
        async for piece in pieces if fault is None else _cut(pieces, fault):
            yield piece

    async def commit(self, digest: Digest) -> Committed:
        try:
            await self._faulty.due("commit")
        except StorageLost:
            await self._staging.abort()
            raise
        return await self._staging.commit(digest)

    async def abort(self) -> None:
        await self._faulty.due("abort")
        await self._staging.abort()

    def guard(self) -> AbstractAsyncContextManager[None]:
        return self._staging.guard()

    async def aclose(self) -> None:
        await self._staging.aclose()


def _first(pieces: Sequence[Buffer], size_bytes: int) -> list[Buffer]:
    return [memoryview(b"".join(pieces))[:size_bytes]]


async def _cut(pieces: AsyncIterator[Buffer], fault: Fault) -> AsyncGenerator[Buffer]:
    left_bytes = fault.after_bytes or 0
    async for piece in pieces:
        if len(piece) > left_bytes:
            yield memoryview(piece)[:left_bytes]
            if fault.error is not None:
                raise fault.error
            return
        left_bytes -= len(piece)
        yield piece
