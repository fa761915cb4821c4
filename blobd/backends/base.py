"""The contract of a backend: a place where bytes live.

Words
    blob       committed bytes under their digest: whole, immutable, readable by anyone.
    staging    one upload's bytes inside the backend. Nobody's blob; invisible to `open`.
    record     the one atomic note about a staging: its offset, the backend's own state, and a
               memo whose meaning only `uploads` knows. What a crash leaves is the last record.
    writer     the holder of a Staging object. At most one per upload, over all processes.
    commit     the one act that turns a staging into a blob.
    receipt    what is left of a staging after its commit: the record, naming the digest.
    quarantine where damaged bytes are kept aside under their digest. They are no blob.

Invariants every backend keeps (tests cite the numbers)
    B1  A digest names at most one blob, and `open` yields exactly the bytes of one commit.
    B2  A reader sees a whole blob or BlobNotFound, at every instant, a crash included.
    B3  When `commit` has returned, the blob survives kill -9, and power loss too where the
        backend was opened as durable.
    B4  When `checkpoint` has returned, its record survives kill -9, and so do the bytes that it
        counts. A writer that lets go cuts what it appended beyond its last record, for whatever
        reason it lets go, and a later writer starts at exactly that offset.
    B5  One writer per upload. `stage` asks the present writer to let go and returns when it has;
        from then on that writer's calls raise UploadOvertaken and change nothing.
    B6  A call that fails or is cancelled leaves a state that one of the calls could have left.
        A cancelled call first waits for the thread that works for it: once it has returned,
        nothing uses its arguments.
    B7  Commit takes time that does not depend on the blob's size, but for bytes not yet synced.
        It publishes its own staging even where the blob exists already, and is safe beside
        another commit of the same digest and beside `delete`.
    B8  Commit is explicit: leaving a Staging publishes nothing. `abort` may be
        called at any time, twice, and after commit, where it does nothing.
    B9  Listings tolerate garbage: what is not understood is neither reported nor removed.
    B10 A writer killed in the act could not cut. Where the backend finds what it appended beyond
        its record (the *tail*), complete and in order, the next writer starts behind the tail, and
        `peek` counts it while nobody writes. There is no tail after a restart of the machine, nor
        of a `provisional` writer: then a later writer starts at the record, the rest is cut.
        Filesystem: every byte that had reached the file. Memory: ends with its process, so no
        writer is killed without it. S3: never a tail; bytes of parts that are not in the record
        cannot be read back before the upload is completed, so their hash cannot be known.
    B11 Once `quarantine` has returned, no verb but `quarantined` sees the blob, in any process, and
        its bytes stay. A later commit of the digest, or a `delete`, drops them.

A backend does no hashing, knows no policy and no HTTP. It may be used from one event loop, by
any number of tasks. Buffers belong to the caller and are free again when the call returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from blobd.digest import Digest, Span

Buffer = bytes | memoryview
Admits = Callable[["Record"], None]
"""Looks at a record and raises what speaks against becoming its upload's writer."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One line of a listing of blobs."""

    digest: Digest
    size_bytes: int
    stored_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is saved of a staging. `offset` bytes from the start are there and stay there."""

    upload_id: str
    offset: int
    memo: bytes
    touched_at: float
    """Seconds since the epoch at which this record was saved."""
    committed: Digest | None = None
    """Set in a receipt."""
    tail_bytes: int = 0
    """Bytes beyond the offset that a killed writer left and the next one starts behind (B10)."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did. `replaced`: equal bytes were there before and have been dropped."""

    digest: Digest
    size_bytes: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something that a crash left behind and that nothing refers to."""

    kind: str
    name: str
    size_bytes: int | None
    removed: bool = False


@dataclass(slots=True)
class FileSource:
    """A blob as an open file. The holder closes it; the descriptor may be read by several."""

    fd: int
    size_bytes: int
    close: Callable[[], None]

    async def aclose(self) -> None:
        self.close()


@dataclass(slots=True)
class StreamSource:
    """A blob that is read piece by piece; `read(span)` yields exactly the span's bytes.

    Close the generator unless it is read to its end. Several may be read at once.
    """

    size_bytes: int
    read: Callable[[Span], AsyncGenerator[Buffer]]

    async def aclose(self) -> None:
        """Nothing is held between reads."""


@dataclass(slots=True)
class RemoteSource:
    """A blob that the client may fetch elsewhere, by GET, for some time; or read as a stream."""

    size_bytes: int
    url: str
    read: Callable[[Span], AsyncGenerator[Buffer]]

    async def aclose(self) -> None:
        """Nothing is held."""


Source = FileSource | StreamSource | RemoteSource


class Staging(Protocol):
    """The writer's hand on one upload. Got from `Backend.stage`, released by `aclose`."""

    @property
    def record(self) -> Record:
        """The last record saved, by this writer or one before it."""
        ...

    @property
    def offset(self) -> int:
        """Bytes staged so far: the record's offset, its tail (B10), and what was appended since."""
        ...

    @property
    def trusted(self) -> bool:
        """False when the machine may have lost bytes since the record (a reboot): hash again."""
        ...

    async def append(self, pieces: Sequence[Buffer]) -> None:
        """Write the pieces at the offset, in order.

        Raises UploadOvertaken before anything is written; StorageFull or BackendUnavailable
        after some, all or none was: then the offset is the record's again, and the caller
        continues from there or lets go. If cancelled: all of the pieces are written, or the
        same holds as after an error. A writer that found a tail saves a
        checkpoint before it appends.
        """
        ...

    async def checkpoint(self, memo: bytes, *, last: bool = False) -> None:
        """Save a record of the present offset and this memo, replacing the last one (B4).

        `last` promises that this writer appends nothing more: a successor need not see to bytes
        that may still be on their way. Without it the record may be saved a little later, and an
        error of that comes from the next call.
        Raises UploadOvertaken, StorageFull, BackendUnavailable; then the last record holds.
        Raises StorageLost when bytes could not be made durable; then the staging is gone.
        """
        ...

    def read(self, span: Span) -> AsyncIterator[Buffer]:
        """Yield staged bytes again, for hashing where no hash state was saved."""
        ...

    async def commit(self, digest: Digest) -> Committed:
        """Publish all bytes up to the offset as the blob `digest`, and leave a receipt (B3, B7).

        The caller has verified that they hash to it. Idempotent on one Staging. Raises
        UploadOvertaken; StorageLost when the bytes could not be made durable (the staging is
        gone); StorageFull, BackendUnavailable (the staging is still there). If cancelled: it was
        published, or it was not.
        """
        ...

    async def abort(self) -> None:
        """Remove the staging, its record and every part of it. Does nothing after commit."""
        ...

    def guard(self) -> AbstractAsyncContextManager[None]:
        """Within: if another writer asks for this upload, the waiting task is interrupted.

        The interruption comes out of the `async with` as UploadOvertaken, within 100 ms of the
        request, whatever was being awaited. Other cancellations pass unchanged.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the upload; what the last record names stays, and an untouched tail.

        Idempotent.
        """
        ...


class Backend(Protocol):
    """Where bytes live. Each verb may be called concurrently with itself and all others."""

    async def begin(self, upload_id: str, memo: bytes) -> Record:
        """Make an empty staging with its first record. The id is 32 hex digits and new.

        Raises StorageFull, BackendUnavailable.
        """
        ...

    async def stage(
        self,
        upload_id: str,
        *,
        admits: Admits | None = None,
        untold: bool = False,
        provisional: bool = False,
    ) -> Staging:
        """Become the writer of an upload, taking it over from any present writer (B5).

        `admits` is called with the last record, on any thread; what it raises keeps the caller
        out before a present writer is asked to let go. `untold` promises that the upload was begun
        here and that nobody else has heard of it. What a `provisional` writer appends leaves no
        tail when it is killed (B10). Raises UploadUnknown when there is no
        staging (a receipt is none); UploadBusy when the present writer has not let go in time;
        UploadOvertaken when a still newer call won.
        """
        ...

    async def peek(self, upload_id: str) -> Record:
        """Return the last record, or the receipt, without disturbing a writer.

        With the tail of a killed writer where nobody writes now. Raises UploadUnknown.
        """
        ...

    async def forget(self, upload_id: str) -> None:
        """Remove a receipt. Does nothing where there is none, or where a staging is open."""
        ...

    async def stat(self, digest: Digest) -> int:
        """Return the blob's size in bytes. Raises BlobNotFound."""
        ...

    async def glance(self, digests: Sequence[Digest]) -> Sequence[int | None] | None:
        """Return each blob's size in bytes as it is stored now; None for one that is not there.

        None for all where it would take a request to another machine. Raises BackendUnavailable.
        """
        ...

    async def measure(self, digest: Digest) -> int:
        """Return how many of a blob's bytes are there, whatever it takes to know.

        Raises BlobNotFound where there are none, or a part of them is gone altogether;
        BackendUnavailable.
        """
        ...

    async def quarantine(self, digest: Digest) -> None:
        """Keep the bytes of a damaged blob aside (B11). Does nothing where there are none.

        The caller sees to it that nobody commits or deletes the digest meanwhile. If cancelled:
        done, or not.
        """
        ...

    def quarantined(self) -> AsyncIterator[BlobInfo]:
        """Yield what is kept aside, with the size of the bytes that are there, in no order."""
        ...

    async def open(self, digest: Digest) -> Source:
        """Open a blob for reading; the caller closes the source. Raises BlobNotFound."""
        ...

    async def delete(self, digest: Digest) -> int:
        """Remove a blob, or what is quarantined under its digest; return the bytes freed.

        Open sources keep reading. Raises BlobNotFound where there is neither.
        """
        ...

    def blobs(
        self, *, after: Digest | None = None, measured: bool = False
    ) -> AsyncIterator[BlobInfo]:
        """Yield blobs in the order of their digests, strictly after `after`.

        What is committed or deleted meanwhile may or may not be seen. `measured`: with the sizes
        that `measure` returns, 0 where it raises BlobNotFound; in a bucket that takes a request
        more for each.
        """
        ...

    def stagings(self) -> AsyncIterator[Record]:
        """Yield the records and receipts of all uploads, in no order."""
        ...

    def orphans(
        self, *, deep: bool, remove: bool, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[Orphan]:
        """Yield what crashes have left that no verb above will ever come by.

        `deep` also compares everything stored with the records of it. With `remove`, leftovers that
        nothing can need are removed; a damaged blob never is. `clock` says what is old.
        """
        ...

    async def free_bytes(self) -> int | None:
        """Return the space left for new blobs; None where the backend has no such bound."""
        ...

    async def marker(self) -> str | None:
        """Return the id that the store was marked with; None where it is not marked.

        Raises BackendUnavailable.
        """
        ...

    async def mark(self, store_id: str, *, replace: bool = False) -> str:
        """Mark the store with an id; return the one that it has then.

        A marker that is there stays, unless it is to be replaced. Readers see the old one or the
        new one. Raises StorageFull, BackendUnavailable.
        """
        ...

    async def probe(self) -> None:
        """Write, read back and remove something. Raises StorageFull or BackendUnavailable."""
        ...

    async def aclose(self) -> None:
        """Release threads and descriptors. Stagings must have been released before."""
        ...
