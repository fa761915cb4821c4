"""The contract's stagings: begin, append, checkpoint, read, commit, abort, receipts."""

from __future__ import annotations

import asyncio
import mmap
import random
import time
from typing import TYPE_CHECKING

import pytest

from blobd.backends.base import Backend, Buffer, Record
from blobd.digest import Span
from blobd.errors import UploadUnknown
from tests.backends.acts import begin, digest_of, fetch, joined, off_loop, staged, store

if TYPE_CHECKING:
    from tests.backends.sites import Site

UNKNOWN_ID = "0" * 32


class StagingsContract:
    """Promises about one writer's upload."""

    async def test_begin_saves_a_first_record(self, backend: Backend) -> None:
        """begin: an empty staging with its first record."""
        before = time.time()
        record = await backend.begin(UNKNOWN_ID, b"first")
        assert record == Record(UNKNOWN_ID, 0, b"first", record.touched_at)
        assert before - 1 <= record.touched_at <= time.time() + 1
        peeked = await backend.peek(UNKNOWN_ID)
        assert (peeked.offset, peeked.memo, peeked.committed) == (0, b"first", None)

    async def test_a_staging_starts_where_its_record_stands(self, backend: Backend) -> None:
        """Staging.record, offset, trusted."""
        upload_id = await begin(backend, b"first")
        async with staged(backend, upload_id) as staging:
            assert (staging.offset, staging.record.memo, staging.trusted) == (0, b"first", True)
            await staging.append([b"12345"])
            assert (staging.offset, staging.record.offset) == (5, 0)
            await staging.checkpoint(b"second")
            assert (staging.offset, staging.record.offset) == (5, 5)
            assert staging.record.memo == b"second"
        async with staged(backend, upload_id) as staging:
            assert (staging.offset, staging.record.memo, staging.trusted) == (5, b"second", True)

    @pytest.mark.parametrize("upload_id", [UNKNOWN_ID, "", "..", "../../blobs", "A" * 32, "a" * 31])
    async def test_an_upload_that_was_never_begun_is_unknown(
        self, backend: Backend, upload_id: str
    ) -> None:
        """stage, peek: UploadUnknown, whatever a client writes into a path."""
        with pytest.raises(UploadUnknown):
            await backend.stage(upload_id)
        with pytest.raises(UploadUnknown):
            await backend.peek(upload_id)

    async def test_pieces_are_written_in_order(self, backend: Backend) -> None:
        """append: in order, more of them than one system call takes, of every kind."""
        mapped = mmap.mmap(-1, 4096)
        mapped[:3] = b"map"
        pieces: list[Buffer] = [
            b"bytes",
            memoryview(b"read-only"),
            memoryview(bytearray(b"--writable--"))[2:-2],
            memoryview(mapped)[:3],
            b"",
            *(b"%d," % number for number in range(3000)),
        ]
        whole = b"".join(pieces)
        async with staged(backend) as staging:
            await staging.append(pieces)
            assert staging.offset == len(whole)
            await staging.append([])
            await staging.append([b""])
            assert staging.offset == len(whole)
            await staging.commit(digest_of(whole))
        assert await fetch(backend, digest_of(whole)) == whole

    async def test_a_buffer_is_free_again_when_append_returns(self, backend: Backend) -> None:
        """Buffers belong to the caller."""
        buffer = bytearray(random.Random(7).randbytes(1024 * 1024))
        whole = bytes(buffer) + b"!" * len(buffer)
        async with staged(backend) as staging:
            await staging.append([memoryview(buffer)])
            buffer[:] = b"!" * len(buffer)
            await staging.append([memoryview(buffer)])
            buffer[:] = b"?" * len(buffer)
            await staging.commit(digest_of(whole))
        assert await fetch(backend, digest_of(whole)) == whole

    async def test_bytes_beyond_the_record_are_cut(self, backend: Backend) -> None:
        """B4: a later writer starts at exactly the record's offset."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"saved"])
            await staging.checkpoint(b"")
            await staging.append([b"much longer than what follows"])
        async with staged(backend, upload_id) as staging:
            assert staging.offset == 5
            await staging.append([b"+after"])
            await staging.commit(digest_of(b"saved+after"))
        assert await fetch(backend, digest_of(b"saved+after")) == b"saved+after"

    async def test_a_record_outlives_its_writer(self, backend: Backend, site: Site) -> None:
        """B4: also for another backend opened on the same place."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"x" * 100])
            await staging.checkpoint(b"at 100")
        other = await off_loop(site.open)
        record = await other.peek(upload_id)
        assert (record.offset, record.memo) == (100, b"at 100")
        async with staged(other, upload_id) as staging:
            assert await joined(staging.read(Span(0, 100))) == b"x" * 100
        await other.aclose()

    @pytest.mark.parametrize("memo", [b"", bytes(range(256)), b"\n" * 100_000])
    async def test_a_memo_is_opaque(self, backend: Backend, memo: bytes) -> None:
        """Record.memo: its meaning only `uploads` knows."""
        upload_id = await begin(backend, memo)
        assert (await backend.peek(upload_id)).memo == memo
        async with staged(backend, upload_id) as staging:
            await staging.checkpoint(b"other")
            await staging.checkpoint(memo)
        assert (await backend.peek(upload_id)).memo == memo

    async def test_a_record_tells_when_it_was_saved(self, backend: Backend) -> None:
        """Record.touched_at never runs backwards."""
        upload_id = await begin(backend)
        times = [(await backend.peek(upload_id)).touched_at]
        async with staged(backend, upload_id) as staging:
            for _ in range(3):
                await staging.append([b"x"])
                await staging.checkpoint(b"")
                times.append((await backend.peek(upload_id)).touched_at)
        assert times == sorted(times)
        assert times[-1] <= time.time() + 1

    async def test_peek_does_not_disturb_the_writer(self, backend: Backend) -> None:
        """peek: the last record, while a writer goes on."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging, staging.guard():
            for number in range(5):
                await staging.append([b"12345"])
                assert (await backend.peek(upload_id)).offset == 5 * number
                await staging.checkpoint(b"")
                assert (await backend.peek(upload_id)).offset == 5 * number + 5

    async def test_staged_bytes_can_be_read_again(self, backend: Backend) -> None:
        """read: any span, saved or not, and appending goes on after it."""
        data = random.Random(8).randbytes(2 * 1024 * 1024 + 5)
        async with staged(backend) as staging:
            await staging.append([data[:1_500_000]])
            await staging.checkpoint(b"")
            await staging.append([data[1_500_000:]])
            assert await joined(staging.read(Span(0, len(data)))) == data
            assert await joined(staging.read(Span(7, 7))) == b""
            assert (
                await joined(staging.read(Span(1_499_999, 1_500_001)))
                == (data[1_499_999:1_500_001])
            )
            await staging.append([b"end"])
            assert staging.offset == len(data) + 3
            await staging.commit(digest_of(data + b"end"))
        assert await fetch(backend, digest_of(data + b"end")) == data + b"end"

    async def test_commit_publishes_all_bytes_saved_or_not(
        self, backend: Backend, site: Site
    ) -> None:
        """commit: all bytes up to the offset."""
        digest = digest_of(b"saved, unsaved")
        async with staged(backend) as staging:
            await staging.append([b"saved, "])
            await staging.checkpoint(b"")
            await staging.append([b"unsaved"])
            committed = await staging.commit(digest)
            assert await fetch(backend, digest) == b"saved, unsaved"
        assert (committed.digest, committed.size_bytes, committed.replaced) == (digest, 14, False)
        assert await off_loop(site.peek_blob, digest) == b"saved, unsaved"

    async def test_commit_leaves_a_receipt(self, backend: Backend, site: Site) -> None:
        """Words, receipt: the record, naming the digest."""
        digest = digest_of(b"data")
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"data"])
            await staging.checkpoint(b"memo at the end")
            await staging.commit(digest)
            assert staging.record.committed == digest
        other = await off_loop(site.open)
        for seen_by in (backend, other):
            receipt = await seen_by.peek(upload_id)
            assert (receipt.committed, receipt.offset) == (digest, 4)
            assert receipt.memo == b"memo at the end"
        await other.aclose()
        with pytest.raises(UploadUnknown):
            await backend.stage(upload_id)

    async def test_a_receipt_outlives_its_blob(self, backend: Backend) -> None:
        """A receipt says what a commit did, not what is there now."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"data"])
            await staging.commit(digest_of(b"data"))
        await backend.delete(digest_of(b"data"))
        assert (await backend.peek(upload_id)).committed == digest_of(b"data")

    async def test_commit_is_idempotent_on_one_staging(self, backend: Backend) -> None:
        """commit: idempotent."""
        async with staged(backend) as staging:
            await staging.append([b"once"])
            first = await staging.commit(digest_of(b"once"))
            assert await staging.commit(digest_of(b"once")) == first
        assert await fetch(backend, digest_of(b"once")) == b"once"

    async def test_commit_replaces_equal_bytes(self, backend: Backend, site: Site) -> None:
        """B7: it publishes its own staging even where the blob exists already."""
        digest = digest_of(b"true")
        await off_loop(site.plant_blob, digest, b"damaged")
        async with staged(backend) as staging:
            await staging.append([b"true"])
            assert (await staging.commit(digest)).replaced
        assert await fetch(backend, digest) == b"true"
        assert await off_loop(site.peek_blobs) == {digest}

    async def test_concurrent_commits_of_one_digest_all_succeed(
        self, backend: Backend, site: Site
    ) -> None:
        """B1, B7."""
        data = random.Random(9).randbytes(50_000)
        digests = await asyncio.gather(*(store(backend, data) for _ in range(8)))
        assert set(digests) == {digest_of(data)}
        assert await fetch(backend, digest_of(data)) == data
        assert await off_loop(site.peek_blobs) == {digest_of(data)}

    async def test_a_committed_staging_takes_no_more_bytes(
        self, backend: Backend, site: Site
    ) -> None:
        """B1: a blob is immutable; its receipt too."""
        digest = digest_of(b"whole")
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"whole"])
            await staging.commit(digest)
            with pytest.raises(UploadUnknown):
                await staging.append([b" and more"])
            with pytest.raises(UploadUnknown):
                await staging.checkpoint(b"later")
        assert await off_loop(site.peek_blob, digest) == b"whole"
        assert (await backend.peek(upload_id)).committed == digest

    async def test_leaving_a_staging_publishes_nothing(self, backend: Backend, site: Site) -> None:
        """B8: commit is a word somebody says."""
        async with staged(backend) as staging:
            await staging.append([b"never"])
            await staging.checkpoint(b"")
        assert await off_loop(site.peek_blobs) == set()

    async def test_letting_go_twice_is_letting_go(self, backend: Backend) -> None:
        """aclose: what the last record names stays. Idempotent."""
        upload_id = await begin(backend)
        staging = await backend.stage(upload_id)
        await staging.append([b"kept"])
        await staging.checkpoint(b"")
        await staging.aclose()
        await staging.aclose()
        async with staged(backend, upload_id) as again:
            await staging.aclose()
            await again.append([b"."])
            assert again.offset == 5

    async def test_abort_removes_everything(self, backend: Backend, site: Site) -> None:
        """abort: the staging, its record and every part of it."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"saved"])
            await staging.checkpoint(b"")
            await staging.append([b"unsaved"])
            await staging.abort()
        assert await off_loop(site.peek_uploads) == set()
        assert await off_loop(site.peek_blobs) == set()
        with pytest.raises(UploadUnknown):
            await backend.peek(upload_id)
        with pytest.raises(UploadUnknown):
            await backend.stage(upload_id)

    async def test_an_aborted_staging_takes_no_more_bytes(
        self, backend: Backend, site: Site
    ) -> None:
        """B8: abort is final."""
        async with staged(backend) as staging:
            await staging.abort()
            for call in (
                staging.append([b"more"]),
                staging.checkpoint(b""),
                staging.commit(digest_of(b"")),
            ):
                with pytest.raises(UploadUnknown):
                    await call
        assert await off_loop(site.peek_uploads) == set()
        assert await off_loop(site.peek_blobs) == set()

    async def test_abort_may_be_called_at_any_time(self, backend: Backend) -> None:
        """B8: twice, at once, and after commit, where it does nothing."""
        async with staged(backend) as staging:
            await staging.append([b"x"])
            await asyncio.gather(staging.abort(), staging.abort())
            await staging.abort()
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"kept"])
            await staging.commit(digest_of(b"kept"))
            await staging.abort()
        assert await fetch(backend, digest_of(b"kept")) == b"kept"
        assert (await backend.peek(upload_id)).committed == digest_of(b"kept")

    async def test_stagings_lists_open_uploads_and_receipts(
        self, backend: Backend, site: Site
    ) -> None:
        """stagings: the records and receipts of all uploads."""
        fresh = await begin(backend, b"fresh")
        half = await begin(backend)
        async with staged(backend, half) as staging:
            await staging.append([b"12345"])
            await staging.checkpoint(b"half")
        done = await begin(backend)
        async with staged(backend, done) as staging:
            await staging.append([b"done"])
            await staging.commit(digest_of(b"done"))
        async with staged(backend) as staging:
            await staging.abort()
        found = {record.upload_id: record async for record in backend.stagings()}
        assert set(found) == {fresh, half, done} == await off_loop(site.peek_uploads)
        assert (found[fresh].offset, found[fresh].memo) == (0, b"fresh")
        assert (found[half].offset, found[half].memo) == (5, b"half")
        assert found[done].committed == digest_of(b"done")

    async def test_forget_removes_a_receipt(self, backend: Backend, site: Site) -> None:
        """forget: the receipt goes, the blob stays."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"kept"])
            await staging.commit(digest_of(b"kept"))
        await backend.forget(upload_id)
        await backend.forget(upload_id)
        with pytest.raises(UploadUnknown):
            await backend.peek(upload_id)
        assert await off_loop(site.peek_uploads) == set()
        assert await fetch(backend, digest_of(b"kept")) == b"kept"

    async def test_forget_leaves_an_open_staging_alone(self, backend: Backend) -> None:
        """forget: does nothing where a staging is open, or nothing is."""
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"12345"])
            await staging.checkpoint(b"")
            await backend.forget(upload_id)
            await staging.append([b"6"])
        await backend.forget(upload_id)
        assert (await backend.peek(upload_id)).offset == 5
        await backend.forget(UNKNOWN_ID)

    async def test_many_uploads_keep_apart(self, backend: Backend) -> None:
        """Backend: used by any number of tasks."""

        async def one(number: int) -> None:
            data = random.Random(number).randbytes(20_000)
            upload_id = await begin(backend)
            for start in range(0, len(data), 5_000):
                async with staged(backend, upload_id) as staging:
                    assert staging.offset == start
                    await staging.append([data[start : start + 5_000]])
                    await staging.checkpoint(b"")
            async with staged(backend, upload_id) as staging:
                await staging.commit(digest_of(data))
            assert await fetch(backend, digest_of(data)) == data

        await asyncio.gather(*(one(number) for number in range(20)))
