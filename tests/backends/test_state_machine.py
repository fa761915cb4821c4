"""Any sequence of calls on the filesystem backend, crashes among them, beside a model of it.

The model is two dictionaries: blobs, and uploads with what was saved of them. Bundles hold ids;
every step asks the backend and the model, and they must agree (B1, B2, B4, B5, B8, B10).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from unittest import mock

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from blobd.backends.filesystem import backend as filesystem
from blobd.digest import Digest, Span
from blobd.errors import BlobNotFound, UploadOvertaken, UploadUnknown
from tests.backends.acts import digest_of, fetch, guarded_for_ever, joined, listed
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from blobd.backends.filesystem.backend import Filesystem
    from blobd.backends.filesystem.writer import FileStaging

T = TypeVar("T")

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

PIECES = st.lists(st.sampled_from([b"", b"a", b"b" * 10, b"c" * 5000]), max_size=4)
MEMOS = st.binary(max_size=20)
ALGORITHMS = st.sampled_from(["sha256", "sha512", "blake3"])


@dataclass
class ModelUpload:
    """What is saved of an upload, and who writes it now with what beyond that."""

    memo: bytes
    saved: bytes = b""
    committed: Digest | None = None
    committed_bytes: int = 0
    writer: FileStaging | None = None
    unsaved: bytes = b""
    tail: bytes = b""
    """Of the unsaved bytes, those that a crash has left and nobody has saved or cut yet."""
    provisional: bool = False
    """Whether the writer's bytes are undone by a crash."""
    boot: str = ""
    """In which the record was saved."""
    let_go: list[FileStaging] = field(default_factory=list)

    def leave(self) -> None:
        """Let go in order: what is unsaved is cut, but for a tail that nobody touched."""
        self.writer, self.unsaved = None, b""

    def crash(self, boot: str) -> None:
        if self.writer is not None and self.unsaved != self.tail:
            lasts = not self.provisional and self.boot == boot
            self.tail = self.unsaved if lasts else b""
        self.leave()
        self.let_go = []


class FilesystemMachine(RuleBasedStateMachine):
    """The rules. Each steps the event loop until its call is answered."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="blobd-test-", dir=MEMORY))
        self.site = FilesystemSite(self.root, durable=False)
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.blobs: dict[Digest, bytes] = {}
        self.uploads: dict[str, ModelUpload] = {}
        self.boots = 0
        self.backend: Filesystem = self.open()

    @property
    def boot(self) -> str:
        return f"boot {self.boots}"

    def open(self) -> Filesystem:
        with mock.patch.object(filesystem, "boot_id", return_value=self.boot):
            return self.site.open()

    def run(self, call: Coroutine[object, object, T]) -> T:
        return self.runner.run(call)

    def refused(self, kind: type[Exception], call: Coroutine[object, object, object]) -> None:
        with pytest.raises(kind):
            self.run(call)

    def teardown(self) -> None:
        self.look_around()
        self.release_all()
        self.run(self.backend.aclose())
        self.runner.close()
        shutil.rmtree(self.root)

    def release_all(self) -> None:
        for upload in self.uploads.values():
            if upload.writer is not None:
                self.run(upload.writer.aclose())

    @initialize(target=ids)
    def first(self) -> str:
        return self.begin_with(b"first")

    @rule(target=ids, memo=MEMOS)
    def begin(self, memo: bytes) -> str:
        return self.begin_with(memo)

    def begin_with(self, memo: bytes) -> str:
        upload_id = secrets.token_hex(16)
        self.run(self.backend.begin(upload_id, memo))
        self.uploads[upload_id] = ModelUpload(memo, boot=self.boot)
        return upload_id

    @rule(upload_id=ids, provisional=st.booleans())
    def stage(self, upload_id: str, provisional: bool) -> None:
        """Become the writer; a present one is told to let go, and does."""
        upload = self.uploads.get(upload_id)
        if upload is None or upload.committed is not None:
            if upload is None or upload.writer is None:
                self.refused(UploadUnknown, self.backend.stage(upload_id))
            return
        self.run(self.take_over(upload_id, upload, provisional=provisional))
        assert upload.writer is not None
        upload.unsaved, upload.provisional = upload.tail, provisional
        assert upload.writer.offset == len(upload.saved + upload.tail)
        assert upload.writer.record.memo == upload.memo
        assert upload.writer.record.tail_bytes == len(upload.tail)
        assert upload.writer.trusted == (upload.boot == self.boot)

    async def take_over(self, upload_id: str, upload: ModelUpload, *, provisional: bool) -> None:
        old = upload.writer
        if old is None:
            upload.writer = await self.backend.stage(upload_id, provisional=provisional)
            return
        async with asyncio.TaskGroup() as group:
            successor = group.create_task(self.backend.stage(upload_id, provisional=provisional))
            with pytest.raises(UploadOvertaken):
                await guarded_for_ever(old, asyncio.Event())
            await old.aclose()
        upload.let_go.append(old)
        upload.writer = successor.result()

    @rule(upload_id=ids, pieces=PIECES)
    def append(self, upload_id: str, pieces: list[bytes]) -> None:
        upload, writer = self.written(upload_id)
        if upload is None or writer is None:
            return
        if upload.committed is not None:
            self.refused(UploadUnknown, writer.append(pieces))
            return
        if upload.tail:
            self.save(upload, writer, b"found")
        self.run(writer.append(pieces))
        upload.unsaved += b"".join(pieces)
        assert writer.offset == len(upload.saved + upload.unsaved)

    @rule(upload_id=ids, memo=MEMOS)
    def checkpoint(self, upload_id: str, memo: bytes) -> None:
        upload, writer = self.written(upload_id)
        if upload is None or writer is None:
            return
        if upload.committed is not None:
            self.refused(UploadUnknown, writer.checkpoint(memo))
            return
        self.save(upload, writer, memo)

    def save(self, upload: ModelUpload, writer: FileStaging, memo: bytes) -> None:
        self.run(writer.checkpoint(memo))
        upload.saved += upload.unsaved
        upload.unsaved, upload.tail, upload.memo, upload.boot = b"", b"", memo, self.boot

    @rule(upload_id=ids, data=st.data())
    def read(self, upload_id: str, data: st.DataObject) -> None:
        upload, writer = self.written(upload_id)
        if upload is None or writer is None or upload.committed is not None:
            return
        whole = upload.saved + upload.unsaved
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert self.run(joined(writer.read(Span(start, stop)))) == whole[start:stop]

    @rule(upload_id=ids, algorithm=ALGORITHMS)
    def commit(self, upload_id: str, algorithm: str) -> None:
        upload, writer = self.written(upload_id)
        if upload is None or writer is None:
            return
        whole = upload.saved + upload.unsaved
        if upload.committed is not None:
            assert self.run(writer.commit(upload.committed)).digest == upload.committed
            return
        digest = digest_of(whole, algorithm)
        committed = self.run(writer.commit(digest))
        assert committed.size_bytes == len(whole)
        assert committed.replaced == (digest in self.blobs)
        self.blobs[digest] = whole
        upload.committed, upload.committed_bytes = digest, len(whole)

    @rule(upload_id=ids)
    def let_go(self, upload_id: str) -> None:
        upload, writer = self.written(upload_id)
        if upload is not None and writer is not None:
            self.run(writer.aclose())
            upload.let_go.append(writer)
            upload.leave()

    @rule(upload_id=ids, memo=MEMOS)
    def write_after_letting_go(self, upload_id: str, memo: bytes) -> None:
        """B5: an old writer's calls change nothing, whoever writes now."""
        upload = self.uploads.get(upload_id)
        for old in upload.let_go if upload is not None else ():
            for call in (old.append([b"late"]), old.checkpoint(memo)):
                with pytest.raises((UploadOvertaken, UploadUnknown)):
                    self.run(call)

    @rule(upload_id=ids)
    def abort(self, upload_id: str) -> None:
        upload, writer = self.written(upload_id)
        if upload is None or writer is None:
            return
        self.run(writer.abort())
        if upload.committed is None:
            self.run(writer.aclose())
            del self.uploads[upload_id]

    @rule(upload_id=ids)
    def forget(self, upload_id: str) -> None:
        self.run(self.backend.forget(upload_id))
        upload = self.uploads.get(upload_id)
        if upload is not None and upload.committed is not None:
            if upload.writer is not None:
                self.run(upload.writer.aclose())
            del self.uploads[upload_id]

    @rule(upload_id=ids)
    def delete(self, upload_id: str) -> None:
        upload = self.uploads.get(upload_id)
        digest = upload.committed if upload is not None else None
        if digest is None:
            self.refused(BlobNotFound, self.backend.delete(digest_of(b"absent")))
        elif digest in self.blobs:
            assert self.run(self.backend.delete(digest)) == len(self.blobs.pop(digest))
        else:
            self.refused(BlobNotFound, self.backend.delete(digest))

    @rule()
    def crash(self) -> None:
        """Drop the process: the kernel closes what is open, nobody says goodbye."""
        for upload in self.uploads.values():
            if upload.writer is not None:
                _close_as_the_kernel_does(upload.writer)
            upload.crash(self.boot)
        self.run(self.backend.aclose())
        self.backend = self.open()

    @rule()
    def reboot(self) -> None:
        """Drop the machine: what is beyond the records is not to be believed."""
        self.crash()
        self.run(self.backend.aclose())
        self.boots += 1
        for upload in self.uploads.values():
            upload.tail = b""
        self.backend = self.open()

    @rule()
    def restart(self) -> None:
        """Stop and start as one should."""
        self.release_all()
        for upload in self.uploads.values():
            upload.leave()
            upload.let_go = []
        self.run(self.backend.aclose())
        self.backend = self.open()

    @rule()
    def look_around(self) -> None:
        """List everything, by blobd and around it."""
        assert self.run(listed(self.backend)) == sorted(self.blobs)
        assert self.site.peek_blobs() == set(self.blobs)
        assert self.site.leftovers() == []

    @invariant()
    def blobs_agree(self) -> None:
        for digest, data in self.blobs.items():
            assert self.run(self.backend.stat(digest)) == len(data)
            assert self.run(fetch(self.backend, digest)) == data

    @invariant()
    def uploads_agree(self) -> None:
        async def look() -> dict[str, tuple[int, int, bytes, Digest | None]]:
            return {
                record.upload_id: (
                    record.offset,
                    record.tail_bytes,
                    record.memo,
                    record.committed,
                )
                async for record in self.backend.stagings()
            }

        assert self.run(look()) == {
            upload_id: (
                len(upload.saved) if upload.committed is None else upload.committed_bytes,
                len(upload.tail) if upload.committed is None and upload.writer is None else 0,
                upload.memo,
                upload.committed,
            )
            for upload_id, upload in self.uploads.items()
        }
        assert self.site.peek_uploads() == set(self.uploads)

    def written(self, upload_id: str) -> tuple[ModelUpload | None, FileStaging | None]:
        upload = self.uploads.get(upload_id)
        return upload, upload.writer if upload is not None else None


def _close_as_the_kernel_does(staging: FileStaging) -> None:
    fd, staging._fd = staging._fd, -1
    os.close(fd)
    staging._ownership.release()


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(40, 30), pytest.param(120, 50, marks=pytest.mark.long)],
    ids=["some", "many"],
)
def test_the_filesystem_agrees_with_its_model(examples: int, steps: int) -> None:
    """B1, B2, B4, B5, B8, B10, over any sequence of calls and crashes."""
    run_state_machine_as_test(
        FilesystemMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
