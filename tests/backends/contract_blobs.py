"""The contract's blobs: stat, open, delete, list. Read with `blobd/backends/base.py` beside it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from blobd.digest import SUPPORTED_ALGORITHMS, Digest, Span
from blobd.errors import BlobNotFound
from tests.backends.acts import (
    begin,
    digest_of,
    fetch,
    listed,
    off_loop,
    read,
    staged,
    store,
)

if TYPE_CHECKING:
    from blobd.backends.base import Backend
    from tests.backends.sites import Site

ABSENT = digest_of(b"never stored")


class BlobsContract:
    """Promises about committed bytes."""

    async def test_a_store_knows_itself(self, backend: Backend) -> None:
        """The first marker stays, for whoever comes later too, until it is replaced."""
        assert await backend.marker() is None
        assert await backend.mark("a" * 32) == "a" * 32
        assert await backend.mark("b" * 32) == "a" * 32
        assert await backend.marker() == "a" * 32
        found = await asyncio.gather(*(backend.mark("c" * 32) for _ in range(5)))
        assert set(found) == {"a" * 32}
        assert await backend.mark("d" * 32, replace=True) == "d" * 32
        assert await backend.marker() == "d" * 32
        assert await listed(backend) == []
        assert [orphan async for orphan in backend.orphans(deep=True, remove=True)] == []
        assert await backend.marker() == "d" * 32

    async def test_reading_a_blob_yields_exactly_its_bytes(self, backend: Backend) -> None:
        """B1."""
        data = random.Random(1).randbytes(3 * 1024 * 1024 + 17)
        digest = await store(backend, data)
        assert await fetch(backend, digest) == data
        assert await backend.stat(digest) == len(data)

    async def test_the_bytes_that_are_there_are_measured(self, backend: Backend) -> None:
        """`measure`, and the same in a listing."""
        sizes_bytes = {}
        for size_bytes in (0, 1, 100_000):
            digest = await store(backend, random.Random(size_bytes).randbytes(size_bytes))
            sizes_bytes[digest] = size_bytes
            assert await backend.measure(digest) == size_bytes
        measured = [(info.digest, info.size_bytes) async for info in backend.blobs(measured=True)]
        assert measured == sorted(sizes_bytes.items())
        with pytest.raises(BlobNotFound):
            await backend.measure(ABSENT)
        gone = digest_of(random.Random(1).randbytes(1))
        await backend.quarantine(gone)
        with pytest.raises(BlobNotFound):
            await backend.measure(gone)
        assert gone not in {info.digest async for info in backend.blobs(measured=True)}

    async def test_a_span_of_a_blob_reads_alone(self, backend: Backend) -> None:
        """B1: any span, across the pieces in which a backend reads."""
        data = random.Random(2).randbytes(2 * 1024 * 1024 + 3)
        source = await backend.open(await store(backend, data))
        edges = (0, 1, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, len(data) - 1, len(data))
        for start in edges:
            for stop in (edge for edge in edges if edge >= start):
                assert await read(source, Span(start, stop)) == data[start:stop]
        await source.aclose()

    async def test_one_open_source_serves_several_readers(self, backend: Backend) -> None:
        """FileSource, StreamSource: may be read by several."""
        data = random.Random(3).randbytes(100_000)
        source = await backend.open(await store(backend, data))
        spans = [Span(start, start + 10_000) for start in range(0, 100_000, 10_000)]
        parts = await asyncio.gather(*(read(source, span) for span in spans))
        await source.aclose()
        assert b"".join(parts) == data

    async def test_an_empty_blob_is_a_blob(self, backend: Backend) -> None:
        """B1, with nothing in it."""
        digest = await store(backend, b"")
        assert await backend.stat(digest) == 0
        assert await fetch(backend, digest) == b""

    @pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
    async def test_blobs_of_every_algorithm_are_kept(
        self, backend: Backend, site: Site, algorithm: str
    ) -> None:
        """B1, for each algorithm that the image-spec registers."""
        digest = await store(backend, b"some bytes", algorithm)
        assert await fetch(backend, digest) == b"some bytes"
        assert await off_loop(site.peek_blob, digest) == b"some bytes"

    @pytest.mark.parametrize("digest", [ABSENT, Digest("md5", "00"), Digest("sha512", "0" * 128)])
    async def test_what_was_never_committed_is_not_found(
        self, backend: Backend, digest: Digest
    ) -> None:
        """B2: by no verb, an unknown algorithm included."""
        with pytest.raises(BlobNotFound):
            await backend.stat(digest)
        with pytest.raises(BlobNotFound):
            await backend.open(digest)
        with pytest.raises(BlobNotFound):
            await backend.delete(digest)

    async def test_what_lies_in_storage_is_found(self, backend: Backend, site: Site) -> None:
        """B1: what another process or an earlier life committed is a blob too."""
        digest = digest_of(b"planted")
        await off_loop(site.plant_blob, digest, b"planted")
        assert await backend.stat(digest) == 7
        assert await fetch(backend, digest) == b"planted"
        assert await listed(backend) == [digest]

    async def test_delete_removes_the_bytes_and_tells_how_many(
        self, backend: Backend, site: Site
    ) -> None:
        """delete: return the bytes freed; then BlobNotFound."""
        digest = await store(backend, b"12345")
        assert await backend.delete(digest) == 5
        assert await off_loop(site.peek_blob, digest) is None
        with pytest.raises(BlobNotFound):
            await backend.stat(digest)
        with pytest.raises(BlobNotFound):
            await backend.delete(digest)

    async def test_one_of_two_deletes_frees_the_bytes(self, backend: Backend) -> None:
        """delete: concurrently with itself."""
        digest = await store(backend, b"12345")
        ends = await asyncio.gather(
            *(backend.delete(digest) for _ in range(4)), return_exceptions=True
        )
        assert sorted(map(str, ends)) == sorted(["5"] + [str(BlobNotFound(digest))] * 3)

    async def test_an_open_source_keeps_reading_after_delete(self, backend: Backend) -> None:
        """delete: open sources keep reading."""
        data = random.Random(4).randbytes(300_000)
        digest = await store(backend, data)
        source = await backend.open(digest)
        await backend.delete(digest)
        assert await read(source) == data
        await source.aclose()

    async def test_a_deleted_blob_can_be_stored_again(self, backend: Backend) -> None:
        """B1, B7."""
        digest = await store(backend, b"again")
        await backend.delete(digest)
        assert await store(backend, b"again") == digest
        assert await fetch(backend, digest) == b"again"

    async def test_readers_see_whole_blobs_while_they_are_replaced(self, backend: Backend) -> None:
        """B2, B7: a commit over an existing blob is seen by nobody."""
        data = random.Random(5).randbytes(200_000)
        digest = await store(backend, data)
        done = asyncio.Event()

        async def keep_reading() -> int:
            reads = 0
            while not done.is_set():
                assert await fetch(backend, digest) == data
                reads += 1
            return reads

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(keep_reading()) for _ in range(3)]
            for _ in range(20):
                await store(backend, data)
            done.set()
        assert all(reader.result() > 0 for reader in readers)

    async def test_readers_see_whole_blobs_or_none_beside_commits_and_deletes(
        self, backend: Backend
    ) -> None:
        """B2, B7: commit beside delete."""
        data = random.Random(6).randbytes(100_000)
        digest = digest_of(data)
        done = asyncio.Event()

        async def keep_reading() -> None:
            while not done.is_set():
                try:
                    assert await fetch(backend, digest) == data
                except BlobNotFound:
                    await asyncio.sleep(0)

        async def keep_deleting() -> None:
            while not done.is_set():
                try:
                    await backend.delete(digest)
                except BlobNotFound:
                    await asyncio.sleep(0)

        async def commit_often() -> None:
            for _ in range(15):
                await store(backend, data)

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_reading())
            group.create_task(keep_deleting())
            writers = [group.create_task(commit_often()) for _ in range(2)]
            await asyncio.wait(writers)
            done.set()
        await store(backend, data)
        assert await fetch(backend, digest) == data

    async def test_listing_is_in_the_order_of_digests(self, backend: Backend, site: Site) -> None:
        """blobs: in the order of their digests, with size and time."""
        stored = {
            await store(backend, bytes([number]) * number, algorithm)
            for number in range(12)
            for algorithm in SUPPORTED_ALGORITHMS
        }
        found = [info async for info in backend.blobs()]
        assert [info.digest for info in found] == sorted(stored)
        assert await off_loop(site.peek_blobs) == stored
        assert {info.size_bytes for info in found} == set(range(12))
        assert all(info.stored_at > 1_500_000_000 for info in found)

    async def test_listing_goes_on_strictly_after_a_digest(self, backend: Backend) -> None:
        """blobs: strictly after `after`, which need not exist."""
        stored = sorted(
            [
                await store(backend, bytes([number]), algorithm)
                for number in range(6)
                for algorithm in SUPPORTED_ALGORITHMS
            ]
        )
        for number, digest in enumerate(stored):
            assert await listed(backend, after=digest) == stored[number + 1 :]
        assert await listed(backend, after=Digest("a", "0")) == stored
        assert await listed(backend, after=Digest("sha256", "f" * 64)) == [
            digest for digest in stored if digest.algorithm == "sha512"
        ]
        assert await listed(backend, after=Digest("z", "0")) == []

    async def test_listing_nothing_yields_nothing(self, backend: Backend) -> None:
        """blobs, stagings: an empty place."""
        assert await listed(backend) == []
        assert [record async for record in backend.stagings()] == []

    async def test_uploads_are_no_blobs(self, backend: Backend) -> None:
        """Words: a staging is invisible to `open`, and to listings of blobs."""
        digest = digest_of(b"staged")
        async with staged(backend) as staging:
            await staging.append([b"staged"])
            await staging.checkpoint(b"")
            with pytest.raises(BlobNotFound):
                await backend.open(digest)
            assert await listed(backend) == []

    async def test_listing_beside_deletes_still_ends(self, backend: Backend) -> None:
        """blobs: what is deleted meanwhile may or may not be seen."""
        stored = [await store(backend, bytes([number])) for number in range(20)]
        kept = stored[::2]

        async def delete_every_other() -> None:
            for digest in stored[1::2]:
                await backend.delete(digest)

        found, _ = await asyncio.gather(listed(backend), delete_every_other())
        assert set(kept) <= set(found) <= set(stored)

    async def test_free_bytes_is_a_number_or_no_bound(self, backend: Backend) -> None:
        """free_bytes."""
        free_bytes = await backend.free_bytes()
        assert free_bytes is None or free_bytes > 0

    async def test_probe_leaves_nothing_behind(self, backend: Backend, site: Site) -> None:
        """probe: remove something."""
        await backend.probe()
        assert await off_loop(site.leftovers) == []
        assert await off_loop(site.peek_blobs) == set()
        assert await off_loop(site.peek_uploads) == set()

    async def test_what_another_backend_opened_here_commits_is_seen(
        self, backend: Backend, site: Site
    ) -> None:
        """B1: nothing is remembered that storage does not say."""
        other = await off_loop(site.open)
        digest = await store(other, b"theirs")
        assert await fetch(backend, digest) == b"theirs"
        await backend.delete(digest)
        with pytest.raises(BlobNotFound):
            await other.stat(digest)
        upload_id = await begin(other)
        assert (await backend.peek(upload_id)).offset == 0
        await other.aclose()
