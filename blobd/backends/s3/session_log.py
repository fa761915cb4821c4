"""A session in the bucket: numbered records, and nobody can write a number twice.

    uploads/<id>/<number>[-<nonce>]     one line of JSON, then the tail

A record is written once and never changed; the highest number is what the session is. Writing the
next number is how a writer makes its bytes the session's, how a successor claims the upload, and
how a commit is decided; the second writer of a number has been overtaken. So of two processes
that write one upload, only one is answered that its bytes are saved.

Where the engine honours If-None-Match, the number is the key, and the engine says who was first.
Where it does not, a nonce keeps the keys apart, and a writer lists after writing: its record counts
if it is alone with its number. A writer that finds another record takes its own back. A reader that
finds two at that moment reads again.

The *tail* is what was received and fills no part yet: it lies behind the line, so that record and
tail are one atomic write. A claim carries none; it names the record in which the tail lies.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from blobd.backends.base import Record
from blobd.digest import Digest, MalformedDigest
from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blobd.backends.base import Buffer
    from blobd.backends.s3.calls import Item, S3Calls

FOLDER = "uploads/"
FRESH_S = 2.0
"""So short a time after its record a session has no other writer: its client waits for answers."""
_HEAD_BYTES = 128 * 1024
_KNOWN_MAX = 512
_STALE_MAX = 16
_AGREEMENT_TRIES = 20
_AGREEMENT_PAUSE_S = 0.05
_RIVAL_TRIES = 4


class Taken(Exception):
    """Another writer has written this number."""


class _RecordDamagedError(Exception):
    """What the engine gave is no record."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The beginning of an object: a run of a blob's bytes."""

    key: str
    size_bytes: int
    whole: bool = True
    """Whether the object ends there too. Where an overtaken writer completed it, it may not."""

    def document(self) -> list[object]:
        """Return it as JSON has it."""
        return [self.key, self.size_bytes, self.whole]

    @classmethod
    def of(cls, document: Any) -> Segment:
        """Read what `document` returned. Raises ValueError, TypeError."""
        key, size_bytes, whole = document
        return cls(str(key), int(size_bytes), bool(whole))


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart upload, and its parts that count: number and ETag, in order."""

    key: str
    multipart_id: str
    parts: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class State:
    """What one record says. Bytes lie in segments, then in full parts, then in the tail."""

    number: int
    key: str
    """The record's own key; the tail lies there unless `tail_key` names another."""
    modified_at: float
    """When the engine says it was written."""
    offset: int
    memo: bytes
    touched_at: float
    part_size_bytes: int
    segments: tuple[Segment, ...]
    multipart: Multipart | None
    tail_key: str
    tail_bytes: int
    resting: bool
    """Whether its writer has nothing more under way."""
    committed: Digest | None = None
    aborted: bool = False

    @classmethod
    def first(cls, memo: bytes, *, part_size_bytes: int) -> State:
        """Return what a session begins with."""
        return cls(
            number=0,
            key="",
            modified_at=0.0,
            offset=0,
            memo=memo,
            touched_at=time.time(),
            part_size_bytes=part_size_bytes,
            segments=(),
            multipart=None,
            tail_key="",
            tail_bytes=0,
            resting=True,
        )

    @property
    def is_open(self) -> bool:
        """Whether it can still be written."""
        return self.committed is None and not self.aborted

    @property
    def in_parts_bytes(self) -> int:
        """How many bytes are in the parts that count."""
        return self.offset - self.tail_bytes - sum(each.size_bytes for each in self.segments)

    def later(self) -> float:
        """Return when the next record is written: now, and never before this one."""
        return max(time.time(), self.touched_at)

    def record(self, upload_id: str) -> Record:
        """Return what a backend's caller may know of it."""
        return Record(upload_id, self.offset, self.memo, self.touched_at, self.committed)


class SessionLog:
    """The records of all sessions. Every method blocks."""

    def __init__(self, calls: S3Calls) -> None:
        self._calls = calls
        self._known: OrderedDict[str, State] = OrderedDict()
        """Records by key. They never change, so one that was read need not be read again."""
        self._begun: OrderedDict[str, State] = OrderedDict()
        """First records by upload, those of this process."""

    def begun(self, upload_id: str) -> State | None:
        """Return the first record of a session that this process began, without asking.

        It may have had others since, if anybody else knew of it.
        """
        return self._begun.get(upload_id)

    def latest(self, upload_id: str) -> State | None:
        """Return what a session is; None where there is none."""
        try:
            return self._last_of(upload_id, self._numbered(upload_id))
        except _RecordDamagedError as error:
            raise BackendUnavailable(str(error)) from error

    def _last_of(self, upload_id: str, items: list[tuple[int, Item]]) -> State | None:
        tries = 0
        while items:
            number = items[-1][0]
            rivals = [rival for other, rival in items if other == number]
            if tries == _AGREEMENT_TRIES:
                # The writer that found itself alone was first; the others died before they looked.
                rivals = [min(rivals, key=lambda rival: (rival.modified_at, rival.key))]
            if len(rivals) == 1 and (state := self._read(number, rivals[0])) is not None:
                return state
            time.sleep(_AGREEMENT_PAUSE_S)
            tries += 1
            items = self._numbered(upload_id)
        return None

    def add(self, upload_id: str, state: State, tail: Buffer = b"") -> State:
        """Write `state` as the number it has; return it as it stands. Raises Taken."""
        state = replace(
            state,
            key=f"{FOLDER}{upload_id}/{state.number:08d}",
            tail_key=state.tail_key if state.tail_bytes and not tail else "",
            modified_at=time.time(),
        )
        body = (_head(state), tail)
        if self._calls.conditional:
            if not self._calls.put_new(state.key, *body):
                raise Taken
        else:
            state = replace(state, key=self._put_alone(upload_id, state, body))
        if state.tail_bytes and not state.tail_key:
            state = replace(state, tail_key=state.key)
        return self._remembered(upload_id, state)

    def _put_alone(self, upload_id: str, state: State, body: Sequence[Buffer]) -> str:
        """Write a record that is alone with its number; return its key. Raises Taken.

        Of two writers at once, each finds the other's record, and both take theirs back: so they
        try again, at different times.
        """
        for _ in range(_RIVAL_TRIES):
            key = f"{state.key}-{secrets.token_hex(8)}"
            self._calls.put(key, *body)
            if not state.number:
                return key  # of a session that nobody else knows yet
            if [item.key for _, item in self._numbered(upload_id, state.number)] == [key]:
                return key
            self._calls.delete(key)
            time.sleep(_AGREEMENT_PAUSE_S * (1 + random.random() * _RIVAL_TRIES))  # noqa: S311
            if self._numbered(upload_id, state.number):
                break
        raise Taken

    def read_tail(self, state: State, view: memoryview) -> None:
        """Fill `view`, of the tail's size, with the bytes of a session that are in no part yet."""
        if not self._calls.read_end(state.tail_key, view):
            raise BackendUnavailable(f"{state.tail_key} has lost the end of its upload")

    def tidy(self, upload_id: str, state: State) -> None:
        """Remove records that the session has left behind, once they are many."""
        if state.number % _STALE_MAX:
            return
        items = self._numbered(upload_id)
        for number, item in items:
            if number < state.number and item.key != state.tail_key:
                self._calls.delete(item.key)
                self._known.pop(item.key, None)

    def remove(self, upload_id: str) -> None:
        """Remove a session's records, the oldest first: what a crash leaves says the same."""
        for _, item in self._numbered(upload_id):
            self._calls.delete(item.key)
            self._known.pop(item.key, None)

    def sessions(self) -> Iterator[tuple[str, State]]:
        """Yield all sessions with what they are. What is not understood is passed over."""
        for upload_id, group in groupby(self._calls.list(FOLDER), key=_upload_of):
            items = [(number, item) for item in group if (number := _number(item.key)) is not None]
            try:
                state = self._last_of(upload_id, items)
            except _RecordDamagedError:
                continue
            if state is not None:
                yield upload_id, state

    def _numbered(self, upload_id: str, number: int | None = None) -> list[tuple[int, Item]]:
        prefix = f"{FOLDER}{upload_id}/" + ("" if number is None else f"{number:08d}")
        found = []
        for item in self._calls.list(prefix):
            numbered = _number(item.key)
            if numbered is not None:
                found.append((numbered, item))
        return found

    def _read(self, number: int, item: Item) -> State | None:
        known = self._known.get(item.key)
        if known is None:
            head = self._calls.get(item.key, first_bytes=_HEAD_BYTES)
            if head is not None and b"\n" not in head:
                head = self._calls.get(item.key)
            if head is None:
                return None  # removed since it was listed
            known = _parsed(number, item, head.partition(b"\n")[0])
            self._know(known)
        return known

    def _remembered(self, upload_id: str, state: State) -> State:
        self._know(state)
        if not state.number:
            self._begun[upload_id] = state
            if len(self._begun) > _KNOWN_MAX:
                self._begun.popitem(last=False)
        return state

    def _know(self, state: State) -> None:
        self._known[state.key] = state
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)


def _upload_of(item: Item) -> str:
    return item.key.removeprefix(FOLDER).partition("/")[0]


def _number(key: str) -> int | None:
    """Return the number in a record's key; None where it is not one."""
    parts = key.removeprefix(FOLDER).split("/")
    if len(parts) != 2:
        return None
    digits = parts[1].partition("-")[0]
    return int(digits) if len(digits) == 8 and digits.isdigit() and digits.isascii() else None


def _head(state: State) -> bytes:
    document: dict[str, Any] = {
        "offset": state.offset,
        "memo": state.memo.decode("latin-1"),
        "touched_at": state.touched_at,
        "part_size": state.part_size_bytes,
        "segments": [each.document() for each in state.segments],
        "tail_key": state.tail_key,
        "tail": state.tail_bytes,
        "resting": state.resting,
    }
    if state.multipart is not None:
        document["multipart"] = [
            state.multipart.key,
            state.multipart.multipart_id,
            state.multipart.parts,
        ]
    if state.committed is not None:
        document["committed"] = str(state.committed)
    if state.aborted:
        document["aborted"] = True
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _parsed(number: int, item: Item, line: bytes) -> State:
    try:
        document = json.loads(line)
        multipart = None
        if "multipart" in document:
            key, multipart_id, parts = document["multipart"]
            numbered = tuple((int(part), str(etag)) for part, etag in parts)
            multipart = Multipart(str(key), str(multipart_id), numbered)
        committed = document.get("committed")
        return State(
            number=number,
            key=item.key,
            modified_at=item.modified_at,
            offset=int(document["offset"]),
            memo=str(document["memo"]).encode("latin-1"),
            touched_at=float(document["touched_at"]),
            part_size_bytes=int(document["part_size"]),
            segments=tuple(Segment.of(each) for each in document["segments"]),
            multipart=multipart,
            tail_key=str(document["tail_key"]) or (item.key if document["tail"] else ""),
            tail_bytes=int(document["tail"]),
            resting=bool(document["resting"]),
            committed=None if committed is None else Digest.parse(committed),
            aborted="aborted" in document,
        )
    except (ValueError, KeyError, TypeError, MalformedDigest) as error:
        raise _RecordDamagedError(f"{item.key} is no record of an upload") from error
