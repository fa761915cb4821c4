"""Blobs in an S3 bucket, shared by any number of replicas: nothing is copied, nothing is local.

Bytes go to the engine while they arrive, as parts; a commit names them and moves nothing. What the
bucket holds, and which writer may write what, is described in `s3/bucket.py`, `s3/session_log.py`
and `s3/index.py`.

Two things differ from a backend on one machine. A writer in another process is not interrupted: it
learns that it has been overtaken when it writes its next record (B5). And a reader may be sent
elsewhere (RemoteSource); objects outlive their blobs long enough for that.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from blobd.backends.base import BlobInfo, RemoteSource, StreamSource
from blobd.backends.s3.bucket import Bucket
from blobd.backends.s3.calls import S3Calls
from blobd.backends.s3.client import CONNECTIONS
from blobd.backends.s3.index import Index
from blobd.backends.s3.part_memory import PartMemory
from blobd.backends.s3.probe import probe
from blobd.backends.s3.read import ObjectMissing, read_segments
from blobd.backends.s3.session_log import SessionLog, State
from blobd.backends.s3.sweep import Sweep
from blobd.backends.s3.writer import S3Staging
from blobd.backends.writer_locks import WriterLocks
from blobd.digest import Span
from blobd.errors import BackendUnavailable, BlobCorrupt, BlobNotFound, UploadUnknown
from blobd.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

    from blobd.backends.base import Admits, Buffer, Orphan, Record, Source
    from blobd.backends.s3.index import Entry
    from blobd.config import Config
    from blobd.digest import Digest
    from blobd.fairness import Tally
    from blobd.metrics import Metrics
    from blobd.quota import Share

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("blobd.s3")
_MARKER = "store.id"
_TAKEOVER_WAIT_S = 5.0
_LISTED_AT_A_TIME = 32
_OF_PARTS = 9 / 10
"""What the largest blob may take of an engine's parts; a take-over leaves some of them short."""
_STEP_BYTES = 64 * 1024
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class S3:
    """A Backend (see `base.py`) on a bucket."""

    def __init__(
        self, config: Config, metrics: Metrics, parts: Share, parts_of: Tally | None = None
    ) -> None:
        """Look at the bucket. Blocks. Raises ConfigInvalid, saying what cannot work.

        `parts` is the memory for parts on their way, `parts_of` what each account holds of it.
        """
        settings, limits = config.s3, config.limits
        self._redirect = settings.redirect
        self._orphan_grace_s = config.upkeep.orphan_grace_s + settings.presign_lifetime_s
        calls = S3Calls(settings, metrics)
        most_parts = probe(calls, redirect=settings.redirect)
        part_size_bytes = part_size_of(config, most_parts)
        self._locks = WriterLocks(wait_s=_TAKEOVER_WAIT_S)
        self.bucket = Bucket(
            calls=calls,
            log=SessionLog(calls),
            index=Index(calls),
            threads=Threads(CONNECTIONS, "blobd-s3"),
            memory=PartMemory(
                parts,
                part_size_bytes=part_size_bytes,
                wait_s=limits.budget_wait_s,
                tally=parts_of,
                account_share=limits.account_share,
            ),
            metrics=metrics,
            part_size_bytes=part_size_bytes,
            parts_in_flight=settings.parts_in_flight,
            most_parts=most_parts,
        )

    async def begin(self, upload_id: str, memo: bytes) -> Record:
        state = State.first(memo, part_size_bytes=self.bucket.part_size_bytes)
        begun = await self._run(self.bucket.log.add, upload_id, state)
        return begun.record(upload_id)

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,
        untold: bool = False,
        provisional: bool = False,  # noqa: ARG002
    ) -> S3Staging:
        _check_id(upload_id)
        staging = S3Staging(self.bucket, upload_id)
        if self._locks.taken(upload_id):
            await self._run(staging.look, admits)
            admits = None
        staging.lock = await self._locks.take(upload_id, offset=staging.saved_offset)
        try:
            await self._run(staging.enter, admits, untold=untold)
        except BaseException:
            staging.lock.release()
            raise
        return staging

    async def peek(self, upload_id: str) -> Record:
        _check_id(upload_id)
        return await self._run(self._peek, upload_id)

    def _peek(self, upload_id: str) -> Record:
        state = self.bucket.log.latest(upload_id)
        if state is None or state.aborted:
            raise UploadUnknown(upload_id)
        if state.committed is not None:
            self.bucket.settle(upload_id, state.committed, state)
        return state.record(upload_id)

    async def forget(self, upload_id: str) -> None:
        if _UPLOAD_ID.fullmatch(upload_id):
            await self._run(self.bucket.forget, upload_id)

    async def stat(self, digest: Digest) -> int:
        return (await self._run(self._find, digest, fresh=True)).size_bytes

    async def glance(self, digests: Sequence[Digest]) -> None:  # noqa: ARG002
        """Each record would be a request to the engine."""
        return

    async def measure(self, digest: Digest) -> int:
        found_bytes = await self._run(
            lambda: self.bucket.measure(self._find(digest, fresh=True).segments)
        )
        if found_bytes is None:
            raise BlobNotFound(digest)
        return found_bytes

    async def quarantine(self, digest: Digest) -> None:
        await self._run(self.bucket.index.quarantine, digest)

    async def quarantined(self) -> AsyncIterator[BlobInfo]:
        async for entries in self._entries(None):
            for digest, entry in entries:
                if entry.quarantined_at is not None:
                    yield BlobInfo(digest, entry.size_bytes, entry.stored_at)

    async def open(self, digest: Digest) -> Source:
        entry = await self._run(self._find, digest, fresh=False)

        def read(span: Span) -> AsyncGenerator[Buffer]:
            return self._read(digest, entry, span)

        if self._redirect and len(entry.segments) == 1 and entry.segments[0].whole:
            url = await self._run(self.bucket.calls.url, entry.segments[0].key)
            return RemoteSource(entry.size_bytes, url, read)
        return StreamSource(entry.size_bytes, read)

    async def _read(self, digest: Digest, entry: Entry, span: Span) -> AsyncGenerator[Buffer]:
        """Read a blob; where an object is missing, once more by a fresh look at its record."""
        done_bytes = 0
        bucket = self.bucket
        for fresh in (False, True):
            if fresh:
                entry = await self._run(self._find, digest, fresh=True)
            rest = Span(span.start + done_bytes, span.stop)
            pieces = read_segments(bucket.calls, bucket.threads, entry.segments, rest)
            try:
                async for piece in pieces:
                    yield piece
                    done_bytes += len(piece)
            except ObjectMissing as missing:
                if fresh:
                    raise BlobCorrupt(digest, f"{missing} is not whole in the bucket") from None
                continue
            finally:
                await pieces.aclose()
            return

    async def delete(self, digest: Digest) -> int:
        removed = await self._run(self.bucket.index.remove, digest) if digest.supported else None
        if removed is None:
            raise BlobNotFound(digest)
        return removed.size_bytes

    async def blobs(
        self, *, after: Digest | None = None, measured: bool = False
    ) -> AsyncIterator[BlobInfo]:
        async for entries in self._entries(after):
            blobs = [each for each in entries if each[1].quarantined_at is None]
            sizes_bytes: Sequence[int | None] = [entry.size_bytes for _, entry in blobs]
            if measured:
                sizes_bytes = await asyncio.gather(
                    *(self._run(self.bucket.measure, entry.segments) for _, entry in blobs)
                )
            for (digest, entry), size_bytes in zip(blobs, sizes_bytes, strict=True):
                yield BlobInfo(digest, size_bytes or 0, entry.stored_at)

    async def _entries(self, after: Digest | None) -> AsyncIterator[list[tuple[Digest, Entry]]]:
        """Yield all records in the order of their digests, some at a time, damaged ones too."""
        index = self.bucket.index
        async for digests in self._listed(index.digests(after=after)):
            entries = await asyncio.gather(*(self._run(index.look, digest) for digest in digests))
            found = zip(digests, entries, strict=True)
            yield [(digest, entry) for digest, entry in found if entry is not None]

    async def stagings(self) -> AsyncIterator[Record]:
        async for sessions in self._listed(self.bucket.log.sessions()):
            for upload_id, state in sessions:
                if not state.aborted and _UPLOAD_ID.fullmatch(upload_id):
                    yield state.record(upload_id)

    async def orphans(
        self, *, deep: bool, remove: bool, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[Orphan]:
        sweep = Sweep(self.bucket, grace_s=self._orphan_grace_s, remove=remove, clock=clock)
        found = chain(sweep.shallow(), sweep.deep()) if deep else sweep.shallow()
        async for orphans in self._listed(found):
            for orphan in orphans:
                yield orphan

    async def free_bytes(self) -> int | None:
        return None

    async def marker(self) -> str | None:
        return await self._run(self._read_marker)

    def _read_marker(self) -> str | None:
        found = self.bucket.calls.get(_MARKER)
        return None if found is None else found.decode("ascii", errors="replace").strip()

    async def mark(self, store_id: str, *, replace: bool = False) -> str:
        return await self._run(self._mark, store_id, replace=replace)

    def _mark(self, store_id: str, *, replace: bool) -> str:
        calls, data = self.bucket.calls, f"{store_id}\n".encode()
        if replace:
            calls.put(_MARKER, data)
        elif calls.conditional:
            calls.put_new(_MARKER, data)
        elif self._read_marker() is None:
            calls.put(_MARKER, data)
        return self._read_marker() or store_id

    async def probe(self) -> None:
        await self._run(self._probe)

    def _probe(self) -> None:
        key, data = f"probe/{secrets.token_hex(8)}", secrets.token_bytes(8)
        calls = self.bucket.calls.once()
        calls.put(key, data)
        found = calls.get(key)
        calls.delete(key)
        if found != data:
            raise BackendUnavailable("the S3 engine did not return what was just written")

    async def aclose(self) -> None:
        self.bucket.threads.close()
        self.bucket.calls.close()

    def _find(self, digest: Digest, *, fresh: bool) -> Entry:
        entry = self.bucket.index.find(digest, fresh=fresh) if digest.supported else None
        if entry is None:
            raise BlobNotFound(digest)
        return entry

    async def _listed(self, items: Iterator[T]) -> AsyncIterator[list[T]]:
        """Yield what a blocking iterator does, some at a time."""

        def some() -> list[T]:
            return list(islice(items, _LISTED_AT_A_TIME))

        while found := await self.bucket.threads.run(some):
            yield found

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.bucket.threads.run(call, *args, **kwargs)


def part_size_of(config: Config, most_parts: int) -> int:
    """Return the size of parts with which the largest blob is one object.

    Where parts of that size would not fit into memory they are smaller, and the largest blobs are
    several objects, which is logged: they are stored all the same, and streamed.
    """
    limit_bytes = config.limits.max_blob_bytes
    wanted_bytes = -(-limit_bytes // int(most_parts * _OF_PARTS or 1))
    wanted_bytes = -(-wanted_bytes // _STEP_BYTES) * _STEP_BYTES
    room_bytes = config.parts_max_bytes // _STEP_BYTES * _STEP_BYTES
    size_bytes = max(config.s3.part_size_bytes, min(wanted_bytes, room_bytes))
    if size_bytes < wanted_bytes:
        _log.warning(
            "limits.max_blob_bytes = %d: in %d parts of %d bytes, as many as the engine takes and "
            "as large as limits.bytes_in_flight_max_bytes lets them be, %d bytes fit; larger blobs "
            "become several objects and are streamed, never redirected",
            limit_bytes,
            most_parts,
            size_bytes,
            most_parts * size_bytes,
        )
    elif size_bytes > config.s3.part_size_bytes:
        _log.info(
            "parts are %d bytes, not s3.part_size_bytes = %d: the engine takes %d parts, and "
            "limits.max_blob_bytes is %d",
            size_bytes,
            config.s3.part_size_bytes,
            most_parts,
            limit_bytes,
        )
    return size_bytes


def _check_id(upload_id: str) -> None:
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise UploadUnknown(upload_id)
