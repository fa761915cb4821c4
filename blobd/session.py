"""One upload in its writer's hand: the staging, the memo in its record, the hasher at its offset.

A record's memo is understood here alone. It carries the hash state, so that any process goes on
without reading again, and the digest so far, so that any process can finish.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from blobd.digest import Digest
from blobd.errors import UploadUnknown

if TYPE_CHECKING:
    from blobd.backends.base import Record, Staging
    from blobd.hashing import Hasher, Hashing

CHECKPOINT_BYTES = 256 * 1024 * 1024
CHECKPOINT_S = 5.0


@dataclass(frozen=True, slots=True)
class Memo:
    """What a session's record says beyond its offset."""

    owner: str
    algorithm: str
    created_at: float
    so_far: str
    """The finished digest of the bytes up to the record's offset."""
    state: str | None
    """The hasher's saved state, in base64."""
    account: str | None = None
    """Among whose open uploads it counts; records of earlier versions say nothing of it."""

    @classmethod
    def load(cls, record: Record) -> Memo:
        """Read a record's memo. Raises UploadUnknown when it is not one of ours."""
        try:
            return cls(**json.loads(record.memo))
        except (ValueError, TypeError) as error:
            raise UploadUnknown(record.upload_id) from error

    @classmethod
    def account_of(cls, record: Record) -> str | None:
        """Return among whose open uploads a record counts; None where it does not say."""
        try:
            return cls.load(record).account
        except UploadUnknown:
            return None

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, owner: str, created_at: float, hasher: Hasher, account: str | None = None) -> Memo:
        """Write down where a hasher stands."""
        so_far = hasher.digest()
        state = hasher.save()
        return cls(
            owner=owner,
            algorithm=so_far.algorithm,
            created_at=created_at,
            so_far=str(so_far),
            state=None if state is None else base64.b64encode(state).decode(),
            account=account,
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """An open upload as its record shows it."""

    upload_id: str
    owner: str
    offset: int
    algorithm: str
    created_at: float
    touched_at: float

    @classmethod
    def of(cls, record: Record, memo: Memo) -> Upload:
        """Return what a record and its memo say."""
        return cls(
            upload_id=record.upload_id,
            owner=memo.owner,
            offset=record.offset + record.tail_bytes,
            algorithm=memo.algorithm,
            created_at=memo.created_at,
            touched_at=record.touched_at,
        )


class Session:
    """A staging, its memo, and the hasher that follows its offset.

    With a tail (B10) memo and hasher stand at the record's offset, before it.
    """

    def __init__(self, staging: Staging, memo: Memo, hashing: Hashing) -> None:
        self.staging = staging
        self.memo = memo
        state = None if memo.state is None else base64.b64decode(memo.state)
        if staging.record.offset == 0:
            self.hasher: Hasher | None = hashing.new(memo.algorithm)
        else:
            self.hasher = hashing.restore(memo.algorithm, state)
        self._saved_s = time.monotonic()
        self._saved_offset = staging.record.offset
        """Where the last record stands; a durable one may still be on its way to the disk."""

    @property
    def live_hasher(self) -> Hasher:
        if self.hasher is None:
            raise RuntimeError("a session receives only with a hasher at its offset")
        return self.hasher

    def computed(self) -> Digest:
        """Return the digest of the bytes up to the offset."""
        if self.hasher is not None:
            return self.hasher.digest()
        return Digest.parse(self.memo.so_far)

    async def save(self, *, last: bool = False) -> None:
        """Make what was appended so far the session's offset; `last`: nothing more will be."""
        hasher = self.live_hasher
        self.memo = Memo.of(self.memo.owner, self.memo.created_at, hasher, self.memo.account)
        offset = self.staging.offset
        await self.staging.checkpoint(self.memo.dump(), last=last)
        self._saved_offset = offset
        self._saved_s = time.monotonic()

    async def save_arrived(self) -> None:
        """Save after a failure. At the record again, an append failed and the hasher is ahead."""
        if self.staging.offset > self._saved_offset:
            await self.save(last=True)

    async def save_sometimes(self) -> None:
        unsaved_bytes = self.staging.offset - self._saved_offset
        overdue = unsaved_bytes > 0 and time.monotonic() - self._saved_s >= CHECKPOINT_S
        if unsaved_bytes >= CHECKPOINT_BYTES or overdue:
            await self.save()
