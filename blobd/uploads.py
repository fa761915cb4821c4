"""Upload sessions: start, append at an offset, status, finish, cancel, expire.

    state       what the backend has    left by
    OPEN        a record                append, finish, cancel, expiry
    RECEIVING   a record and a writer   the body's end, a break, a take-over, a limit
    COMMITTED   a receipt               forgotten after `upkeep.receipt_lifetime_s`
    gone        nothing

    from        by                                        to
    OPEN        append, or finish with a body             RECEIVING
    RECEIVING   append ends, breaks off, or idles         OPEN, at the offset of what arrived
    RECEIVING   append's body contradicts its span        OPEN, where it stood before
    RECEIVING   finish with a body fails in any way       OPEN, where it stood before
    RECEIVING   a newer request takes over                OPEN at the last record, then RECEIVING
    RECEIVING   the time limit, or more bytes than fit    gone
    OPEN        finish, digest right                      COMMITTED
    OPEN        finish without a body, digest wrong       gone
    OPEN        cancel, or idle for too long              gone
    RECEIVING   kill -9 during an append                  OPEN: at what arrived, where the backend
                                                          can find it (B10), else at the record
    RECEIVING   kill -9 during anything else              OPEN at the last record

What a record says beyond its offset is the memo of `session.py`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from blobd.backends.base import Committed
from blobd.errors import (
    BackendUnavailable,
    BlobNotFound,
    BlobTooLarge,
    BodyBroken,
    BodyIdle,
    BodyMalformed,
    BudgetExhausted,
    DigestMismatch,
    DigestUnsupported,
    OffsetMismatch,
    SizeMismatch,
    UploadBusy,
    UploadExpired,
    UploadOvertaken,
    UploadUnknown,
)
from blobd.graces import Graces
from blobd.limits import check_size
from blobd.session import Memo, Session, Upload
from blobd.threads import cancellable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blobd.backends.base import Admits, Record
    from blobd.config import Config
    from blobd.digest import Digest, Span
    from blobd.hashing import Hasher, Hashing
    from blobd.limits import Admission
    from blobd.metrics import Metrics
    from blobd.open_uploads import OpenUploads
    from blobd.receive import Body, Receiver
    from blobd.room import Room
    from blobd.store import BlobHolder, BlobStore

_GRACE_S = 5.0
_SWEEP_MARGIN_S = 60.0
_KEPT = (BodyBroken, BodyIdle, BodyMalformed, BudgetExhausted, asyncio.CancelledError)
"""What ends an append and leaves what arrived."""

_log = logging.getLogger("blobd.uploads")


class Uploads:
    """All upload sessions of a store. Every method may run concurrently with every other."""

    def __init__(
        self,
        *,
        store: BlobStore,
        receiver: Receiver,
        hashing: Hashing,
        admission: Admission,
        open_uploads: OpenUploads,
        room: Room,
        config: Config,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        graces: Graces | None = None,
    ) -> None:
        self._store = store
        self._backend = store.backend
        self._receiver = receiver
        self._hashing = hashing
        self._admission = admission
        self._open_uploads = open_uploads
        self._room = room
        self._limits = config.limits
        self._graces = graces or Graces.of(config)
        self._metrics = metrics
        self._clock = clock

    async def start(
        self,
        owner: str,
        *,
        algorithm: str = "sha256",
        size_bytes: int | None = None,
        account: str | None = None,
    ) -> Upload:
        """Open a session; `algorithm` is what the client announced, `size_bytes` too.

        Raises DigestUnsupported, BlobTooLarge, TooManyOpenUploads, StorageFull,
        BackendUnavailable.
        """
        hasher = self._hashing.new(algorithm)
        check_size(size_bytes or 0, limit_bytes=self._limits.max_blob_bytes)
        await self._room.check(size_bytes or 0)
        memo = Memo.of(owner, self._clock(), hasher, account)
        with self._open_uploads.opening(account):
            record = await self._backend.begin(secrets.token_hex(16), memo.dump())
        return Upload.of(record, memo)

    async def status(self, upload_id: str, owner: str) -> Upload:
        """Return a session as last saved, without disturbing its writer.

        Where a killed writer left more (B10) and nobody writes, the offset counts that too.

        Raises UploadUnknown, also for a finished one and for another owner's; UploadExpired.
        """
        record, memo = await self._peek(upload_id, owner)
        if record.committed is not None:
            raise UploadUnknown(upload_id)
        self._seconds_left(upload_id, memo)
        return Upload.of(record, memo)

    async def append(
        self,
        upload_id: str,
        owner: str,
        body: Body,
        *,
        span: Span | None = None,
        start: int | None = None,
        account: str | None = None,
    ) -> Upload:
        """Receive a body at the upload's end (a PATCH); `span` is where the client says it lies.

        `start` is where it begins, for a client that says no more. A request repeated after its
        answer was lost is recognised by either: the upload no longer stands there.

        `account` is whose share of places and buffers it uses; None: one who speaks for many.
        Takes the upload over from any present writer. What arrived before the client broke off
        or fell idle stays. Raises OffsetMismatch and SizeMismatch with the session as it was;
        BlobTooLarge, and UploadExpired, with the session ended unless the announced size alone
        said so; UploadUnknown, UploadBusy, UploadOvertaken, the body's, the budget's and the
        backend's errors. If cancelled, what arrived stays.
        """
        # A body that may still contradict its span must not be saved half-way.
        saves = span is None or body.length_bytes is not None
        async with (
            self._admission.admit(account),
            self._session(upload_id, owner, span, body, provisional=not saves) as session,
        ):
            if span is None and start is not None and start != session.staging.offset:
                raise OffsetMismatch(upload_id, offset=session.staging.offset, got=start)
            await self._expect(session, span, body)
            try:
                await self._receive(session, body, span, saves=saves, account=account)
            except _KEPT:
                with suppress(UploadOvertaken):
                    await session.save_arrived()
                raise
            await session.save(last=True)
            return Upload.of(session.staging.record, session.memo)

    async def finish(
        self,
        upload_id: str,
        owner: str,
        digest: Digest,
        holder: BlobHolder,
        *,
        body: Body | None = None,
        span: Span | None = None,
        untold: bool = False,
        account: str | None = None,
    ) -> Committed:
        """Close a session as the blob `digest` (a PUT), after its last bytes if there are some.

        Repeated after success it returns the same again, for an hour. On any failure of a body
        the session stands where it stood. `untold` promises that the session was started here and
        that nobody else has heard of it. Raises DigestUnsupported; DigestMismatch, which ends
        the session when no body came with the call; else as `append`, and what committing raises.
        If cancelled, the blob is held by the holder, or not.
        """
        if not digest.supported:
            raise DigestUnsupported(digest.algorithm)
        try:
            return await self._finish_open(
                upload_id, owner, digest, holder, body, span, untold=untold, account=account
            )
        except (UploadUnknown, UploadOvertaken):
            record, _ = await self._peek(upload_id, owner)
            if record.committed is None:
                raise
        return await self._finish_again(record, digest, holder)

    async def _finish_open(
        self,
        upload_id: str,
        owner: str,
        digest: Digest,
        holder: BlobHolder,
        body: Body | None,
        span: Span | None,
        *,
        untold: bool,
        account: str | None,
    ) -> Committed:
        if body is None:
            async with self._session(upload_id, owner, span, None, untold=untold) as session:
                await self._expect(session, span, None)
                return await self._commit(session, digest, holder, received_bytes=0)
        async with (
            self._admission.admit(account),
            self._session(upload_id, owner, span, body, untold=untold, provisional=True) as session,
        ):
            await self._expect(session, span, body)
            if session.staging.offset == 0 and digest.algorithm != session.memo.algorithm:
                session.hasher = self._hashing.new(digest.algorithm)
            received_bytes = await self._receive(session, body, span, saves=False, account=account)
            return await self._commit(session, digest, holder, received_bytes=received_bytes)

    async def cancel(self, upload_id: str, owner: str) -> None:
        """End a session and remove its bytes, taking it over from any writer.

        Raises UploadUnknown, UploadBusy, UploadOvertaken.
        """
        record, _ = await self._peek(upload_id, owner)
        if record.committed is not None:
            raise UploadUnknown(upload_id)
        await self._end(upload_id, "cancelled")

    async def open_uploads(self) -> AsyncIterator[Upload]:
        """Yield the open uploads of all owners, in no order."""
        async for record in self._backend.stagings():
            if record.committed is None:
                with suppress(UploadUnknown):
                    yield Upload.of(record, Memo.load(record))

    async def expire(self) -> list[str]:
        """Remove abandoned and overdue sessions and old receipts; return the sessions' ids.

        A session is abandoned when no byte came for `limits.upload_idle_expiry_s`, overdue when
        the time limit has passed, also when taken over. Several processes may run this at once.
        """
        ended, staged_bytes, now = [], 0, self._clock()
        counted, found = self._open_uploads.snapshot(), Counter[str | None]()

        def still(record: Record) -> None:
            if not self._abandoned(record, self._clock()):
                raise UploadBusy(record.upload_id, 0)

        async for record in self._backend.stagings():
            if record.committed is not None:
                if now - record.touched_at > self._graces.receipt_lifetime_s:
                    await self._backend.forget(record.upload_id)
                continue
            found[Memo.account_of(record)] += 1
            if not self._abandoned(record, now):
                staged_bytes += record.offset + record.tail_bytes
                continue
            with suppress(UploadUnknown, UploadBusy, UploadOvertaken):
                await self._end(record.upload_id, "expired", still)
                ended.append(record.upload_id)
        self._open_uploads.recount(counted, found)
        self._metrics.staged_bytes.set(staged_bytes)
        self._metrics.expired_uploads.inc(len(ended))
        return ended

    def _abandoned(self, record: Record, now: float) -> bool:
        if now - record.touched_at > self._graces.upload_idle_expiry_s:
            return True
        with suppress(UploadUnknown):
            overdue_s = self._graces.upload_timeout_s + _GRACE_S + _SWEEP_MARGIN_S
            created_at = Memo.load(record).created_at
            return self._graces.upload_timeout_s > 0 and now - created_at > overdue_s
        return False

    async def _peek(self, upload_id: str, owner: str) -> tuple[Record, Memo]:
        record = await self._backend.peek(upload_id)
        memo = Memo.load(record)
        if memo.owner != owner:
            raise UploadUnknown(upload_id)
        return record, memo

    @asynccontextmanager
    async def _session(
        self,
        upload_id: str,
        owner: str,
        span: Span | None,
        body: Body | None,
        *,
        untold: bool = False,
        provisional: bool = False,
    ) -> AsyncIterator[Session]:
        """Become the writer; an overdue session is ended instead.

        Runs checks that need no lock before interrupting the current writer.
        """

        def admits(record: Record) -> None:
            memo = Memo.load(record)
            if memo.owner != owner:
                raise UploadUnknown(upload_id)
            length_bytes = None if body is None else body.length_bytes
            if span is not None and length_bytes not in (None, span.size_bytes):
                raise SizeMismatch(
                    announced_bytes=span.size_bytes, received_bytes=length_bytes or 0
                )
            self._seconds_left(upload_id, memo)

        try:
            staging = await self._backend.stage(
                upload_id, admits=admits, untold=untold, provisional=provisional
            )
        except UploadExpired:
            await self._end(upload_id, "expired")
            raise
        try:
            yield Session(staging, Memo.load(staging.record), self._hashing)
        finally:
            await staging.aclose()

    async def _expect(self, session: Session, span: Span | None, body: Body | None) -> None:
        """Check what can be known before a byte of the body is read."""
        staging = session.staging
        if span is not None and span.start != staging.offset:
            raise OffsetMismatch(staging.record.upload_id, offset=staging.offset, got=span.start)
        if not staging.trusted:
            await self._verify(session)
        elif staging.record.tail_bytes:
            await self._take_in_tail(session)
        if body is None:
            return
        announced_bytes = body.length_bytes or (span.size_bytes if span is not None else 0)
        check_size(staging.offset + announced_bytes, limit_bytes=self._limits.max_blob_bytes)
        await self._room.check(announced_bytes)
        if session.hasher is None:
            session.hasher = await self._reread(session, session.memo.algorithm)

    async def _receive(
        self, session: Session, body: Body, span: Span | None, *, saves: bool, account: str | None
    ) -> int:
        """Pump a body within the time that is left to the upload; return its bytes."""
        staging = session.staging
        upload_id = staging.record.upload_id
        try:
            async with (
                staging.guard(),
                asyncio.timeout(self._seconds_left(upload_id, session.memo)),
            ):
                received_bytes = await self._receiver.receive(
                    body,
                    staging,
                    session.live_hasher,
                    limit_bytes=self._limits.max_blob_bytes,
                    progress=session.save_sometimes if saves else None,
                    account=account,
                )
        except TimeoutError as error:
            await self._discard_overdue(session)
            raise UploadExpired(upload_id, self._limits.upload_timeout_s) from error
        except BlobTooLarge:
            await self._discard(session, "refused")
            raise
        except UploadOvertaken:
            self._metrics.takeovers.inc()
            raise
        if span is not None and received_bytes != span.size_bytes:
            self._metrics.discarded_bytes.inc(received_bytes)
            raise SizeMismatch(announced_bytes=span.size_bytes, received_bytes=received_bytes)
        return received_bytes

    async def _commit(
        self, session: Session, digest: Digest, holder: BlobHolder, *, received_bytes: int
    ) -> Committed:
        computed = session.computed()
        if computed.algorithm != digest.algorithm:
            computed = (await self._reread(session, digest.algorithm)).digest()
        if computed != digest:
            if received_bytes:
                self._metrics.discarded_bytes.inc(received_bytes)
            else:
                await self._discard(session, "refused")
            raise DigestMismatch(digest, computed)
        committed = await self._store.commit(session.staging, digest, holder)
        self._open_uploads.ended(session.memo.account)
        self._metrics.uploads.labels("committed").inc()
        return committed

    async def _finish_again(self, record: Record, digest: Digest, holder: BlobHolder) -> Committed:
        """Answer a PUT repeated after its 201 was lost; make the hold if a crash prevented it."""
        if record.committed != digest:
            raise UploadUnknown(record.upload_id)
        try:
            async with holder.pin(digest) as pin:
                size_bytes = await self._store.stat(digest)
                await pin.keep(size_bytes)
        except BlobNotFound as error:
            raise UploadUnknown(record.upload_id) from error
        return Committed(digest, size_bytes, replaced=True)

    async def _verify(self, session: Session) -> None:
        """After a reboot: hash staged bytes again before they are trusted."""
        hasher = await self._reread(session, session.memo.algorithm)
        if str(hasher.digest()) != session.memo.so_far:
            await self._discard(session, "lost")
            raise UploadUnknown(session.staging.record.upload_id)
        session.hasher = hasher
        await session.save()

    async def _take_in_tail(self, session: Session) -> None:
        """After a kill -9: hash what the killed writer left beyond its record, and save that."""
        staging = session.staging
        record = staging.record
        if session.hasher is None:
            session.hasher = await self._reread(session, session.memo.algorithm)
        else:
            _log.info(
                "hashing %d bytes that a killed writer left beyond its record",
                record.tail_bytes,
                extra={"upload_id": record.upload_id},
            )
            async with staging.guard():
                await self._receiver.rehash(staging, session.hasher, start=record.offset)
        await session.save()

    async def _reread(self, session: Session, algorithm: str) -> Hasher:
        staging = session.staging
        if staging.offset:
            _log.info(
                "hashing %d staged bytes again as %s, for want of a saved state",
                staging.offset,
                algorithm,
                extra={"upload_id": staging.record.upload_id},
            )
        hasher = self._hashing.new(algorithm)
        async with staging.guard():
            await self._receiver.rehash(staging, hasher)
        return hasher

    async def _discard(self, session: Session, outcome: str) -> None:
        self._metrics.discarded_bytes.inc(session.staging.offset)
        self._metrics.uploads.labels(outcome).inc()
        await session.staging.abort()
        self._open_uploads.ended(session.memo.account)

    async def _discard_overdue(self, session: Session) -> None:
        """End an upload whose time limit has passed; a backend that is away is not waited for."""
        with cancellable() as cancellation:
            cancellation.set()
            try:
                await self._discard(session, "expired")
            except BackendUnavailable as error:
                upload_id = session.staging.record.upload_id
                _log.info(
                    "left for the expiry of uploads: %s", error, extra={"upload_id": upload_id}
                )

    async def _end(self, upload_id: str, outcome: str, admits: Admits | None = None) -> None:
        staging = await self._backend.stage(upload_id, admits=admits)
        try:
            self._metrics.discarded_bytes.inc(staging.offset)
            self._metrics.uploads.labels(outcome).inc()
            await staging.abort()
        finally:
            await staging.aclose()
        self._open_uploads.ended(Memo.account_of(staging.record))

    def _seconds_left(self, upload_id: str, memo: Memo) -> float | None:
        """Return how long the upload may still receive; None: for ever. Raises UploadExpired."""
        limit_s = self._limits.upload_timeout_s
        if limit_s == 0:
            return None
        left_s = memo.created_at + limit_s + _GRACE_S - self._clock()
        if left_s <= 0:
            raise UploadExpired(upload_id, limit_s)
        return left_s
