"""What lies in an upload's folder: its bytes, its record, and what a crash left of them.

    uploads/<id>/bytes         appended to; renamed to the blob's path by commit
    uploads/<id>/provisional   what `bytes` is called while a provisional writer appends
    uploads/<id>/record        JSON, replaced whole: offset, memo, who saved it, the commit begun
    uploads/<id>/claim         see `filesystem/takeover.py`

The record names the digest before the rename, so the pair says everything after a crash: with
the bytes still in the folder the upload is open, without them the record is a receipt.
"""

from __future__ import annotations

import base64
import errno
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blobd.backends.base import Record
from blobd.backends.filesystem.takeover import CLAIM, nobody_writes
from blobd.digest import Digest
from blobd.durable import UNKNOWN_BOOT, read
from blobd.durable import replace as replace_file
from blobd.errors import BackendUnavailable, StorageFull

if TYPE_CHECKING:
    import os
    from pathlib import Path

BYTES = "bytes"
PROVISIONAL = "provisional"
RECORD = "record"
_NEW_RECORD = "record.new"
_LAYOUT = 2
"""Of the folder. In the first, `bytes` was the name of what a crash undoes, too."""


@dataclass(frozen=True, slots=True)
class Commits:
    """A commit that the rename of the bytes will complete."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Saver:
    """Who saved a record: in which boot, and when on its clock they had asked for the upload."""

    boot: str
    asked_ns: int
    layout: int = _LAYOUT
    sync_due_ns: int = 0
    """When on that clock the record is to be synced; 0: when it was saved, or never."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in an upload's folder."""

    record: Record
    saver: Saver
    bytes_name: str | None
    bytes_size: int

    def tail_bytes(self, boot: str) -> int:
        """Return how many bytes lie beyond the record and count all the same (B10)."""
        counts = (
            self.record.committed is None
            and self.bytes_name == BYTES
            and self.saver.boot == boot != UNKNOWN_BOOT
            and self.saver.layout == _LAYOUT
        )
        return max(self.bytes_size - self.record.offset, 0) if counts else 0


def write_record(
    folder: Path,
    record: Record,
    saver: Saver,
    *,
    commits: Commits | None = None,
    durable: bool = False,
) -> None:
    """Save a record; `durable`: so that it survives power loss.

    Raises OSError; then the last one stands, or where a sync failed after all this one.
    """
    document = {
        "layout": saver.layout,
        "offset": record.offset,
        "boot": saver.boot,
        "asked_ns": saver.asked_ns,
        "sync_due_ns": saver.sync_due_ns,
        "touched_at": record.touched_at,
        "memo": base64.b64encode(record.memo).decode(),
    }
    if commits is not None:
        document["commits"] = {"digest": str(commits.digest), "size": commits.size_bytes}
        document["touched_at"] = time.time()
    replace_file(folder / RECORD, json.dumps(document).encode(), durable=durable)


def read_record(folder: Path) -> tuple[Record, Saver]:
    """Return the record or receipt of an upload's folder, and who saved it.

    Raises FileNotFoundError when there is no such folder, or what it holds is not understood.
    """
    found = look(folder)
    return found.record, found.saver


def read_settled(folder: Path, boot: str) -> Record:
    """Return the record or receipt, with the tail of a killed writer if nobody writes now.

    Raises FileNotFoundError as `read_record` does.
    """
    found = look(folder)
    if found.tail_bytes(boot) == 0:
        return found.record
    with nobody_writes(folder) as settled:
        if not settled:
            return found.record
        found = look(folder)
        return replace(found.record, tail_bytes=found.tail_bytes(boot))


def look(folder: Path) -> Found:
    """Return what lies in an upload's folder. Raises FileNotFoundError as `read_record` does."""
    try:
        text = read(folder / RECORD)
    except FileNotFoundError:
        return Found(_unrecorded(folder), Saver("", 0), None, 0)
    except OSError as error:
        raise FileNotFoundError(f"{folder} holds no record of an upload") from error
    name, facts = bytes_in(folder)
    try:
        document = json.loads(text)
        offset, committed = int(document["offset"]), None
        commits = document.get("commits")
        if commits is not None and facts is None:
            offset, committed = int(commits["size"]), Digest.parse(commits["digest"])
        written_at = facts.st_mtime if facts is not None else 0.0
        record = Record(
            upload_id=folder.name,
            offset=offset,
            memo=base64.b64decode(document["memo"]),
            touched_at=max(float(document["touched_at"]), written_at),
            committed=committed,
        )
        saver = Saver(
            boot=str(document["boot"]),
            asked_ns=int(document["asked_ns"]),
            layout=int(document.get("layout", 1)),
            sync_due_ns=int(document.get("sync_due_ns", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise FileNotFoundError(f"{folder} holds no record of an upload") from error
    return Found(record, saver, name, facts.st_size if facts is not None else 0)


def bytes_in(folder: Path) -> tuple[str | None, os.stat_result | None]:
    """Return the name and the facts of an upload's bytes; None where there are none."""
    for name in (BYTES, PROVISIONAL):
        with suppress(OSError):
            return name, (folder / name).stat()
    return None, None


def _unrecorded(folder: Path) -> Record:
    """Return what a crash leaves before the first record, or in the middle of a removal.

    It stands for removal: at offset 0, with a memo that nobody has written.
    """
    if set(folder.iterdir()) - set(_ours(folder)):
        raise FileNotFoundError(f"{folder} is no upload's")
    return Record(folder.name, 0, b"", folder.stat().st_mtime)


def remove_folder(folder: Path) -> None:
    """Remove an upload's folder; the record first, so that no half of it looks like a receipt.

    What blobd did not put there stays, and the folder with it. May run twice at once. Raises
    OSError.
    """
    with suppress(FileNotFoundError):
        for path in _ours(folder):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _ours(folder: Path) -> list[Path]:
    return [
        *(folder / name for name in (RECORD, BYTES, PROVISIONAL, _NEW_RECORD, CLAIM)),
        *folder.glob(f"{CLAIM}.*"),
    ]


def translated(error: OSError) -> Exception:
    """Return the domain's word for an operating system's error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull()
    return BackendUnavailable(f"the file system failed: {error.strerror}")
