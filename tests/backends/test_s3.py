"""The S3 backend alone: replicas that know nothing of each other, crashes, and what is swept."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from blobd.backends.base import RemoteSource
from blobd.backends.s3.sweep import Sweep
from blobd.digest import Span
from blobd.errors import (
    BackendUnavailable,
    BlobCorrupt,
    BlobNotFound,
    UploadOvertaken,
    UploadUnknown,
)
from tests.backends.acts import begin, digest_of, fetch, joined, off_loop, staged, store
from tests.backends.s3_site import KIB, PREFIX, S3Site
from tests.engines.every import OF_SMALL_PARTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from blobd.backends.base import Backend, Staging
    from blobd.backends.s3.backend import S3
    from blobd.backends.s3.writer import S3Staging
    from tests.engines.every import Engines

pytestmark = pytest.mark.one_loop

PART = 64 * KIB
DATA = secrets.token_bytes(5 * PART + 7)
LONG_S = 1_000_000.0


@pytest.fixture(params=OF_SMALL_PARTS)
def site(request: pytest.FixtureRequest, engines: Engines) -> S3Site:
    return S3Site(engines.get(request.param).make_bucket())


@pytest.fixture
async def replicas(site: S3Site) -> AsyncIterator[tuple[Backend, Backend]]:
    """Two backends that share nothing but the bucket."""
    one, two = await off_loop(site.open), await off_loop(site.open)
    yield one, two
    await one.aclose()
    await two.aclose()
    assert await off_loop(site.leftovers) == []


@pytest.fixture
def is_moto(request: pytest.FixtureRequest, engines: Engines) -> bool:
    return engines.get(request.node.callspec.params["site"]).name == "moto"


@pytest.fixture
def backend(replicas: tuple[Backend, Backend]) -> Backend:
    return replicas[0]


async def crash(staging: Staging) -> None:
    """Let a writer go as a kill would: nothing is tidied up, nobody is told."""
    left = cast("S3Staging", staging)
    await left._parts.settle()
    left.lock.release()


async def crashed_commit(
    backend: Backend, data: bytes, monkeypatch: pytest.MonkeyPatch, after: str
) -> str:
    """Begin a commit whose process dies after one of its steps; return the upload."""
    bucket = cast("S3", backend).bucket
    dies: dict[str, tuple[object, str]] = {
        "receipt": (bucket.calls, "complete"),
        "complete": (bucket.index, "publish"),
    }
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([data])
        with monkeypatch.context() as patch:
            patch.setattr(*dies[after], _die)
            with pytest.raises(BackendUnavailable):
                await staging.commit(digest_of(data))
    return upload_id


def _die(*_: object) -> None:
    raise BackendUnavailable("killed here")


async def test_any_replica_goes_on_at_the_saved_offset(
    replicas: tuple[Backend, Backend],
) -> None:
    """B4, issue: continue and commit, after a kill too."""
    one, two = replicas
    upload_id = await begin(one)
    staging = await one.stage(upload_id)
    await staging.append([DATA[: 2 * PART + 9]])
    await staging.checkpoint(b"saved")
    await staging.append([DATA[2 * PART + 9 : 4 * PART]])
    await crash(staging)
    async with staged(two, upload_id) as next_one:
        assert next_one.offset == 2 * PART + 9
        await next_one.append([DATA[2 * PART + 9 :]])
        await next_one.commit(digest_of(DATA))
    assert await fetch(one, digest_of(DATA)) == DATA


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("verb", ["checkpoint", "commit", "abort"])
async def test_a_writer_of_another_process_is_fenced(
    replicas: tuple[Backend, Backend], is_moto: bool, verb: str, last: bool
) -> None:
    """B5, issue: two replicas that write one upload, also without conditional writes."""
    one, two = replicas
    upload_id = await begin(one)
    async with staged(one, upload_id) as old:
        await old.append([DATA[:PART]])
        await old.checkpoint(b"", last=last)
        async with staged(two, upload_id) as new:
            await new.append([DATA[PART : 3 * PART]])
            await new.checkpoint(b"new")
            if not last:
                await old.append([b"?" * 3 * PART])
            calls: dict[str, Callable[[], object]] = {
                "checkpoint": lambda: old.checkpoint(b"old"),
                "commit": lambda: old.commit(digest_of(DATA[:PART])),
                "abort": old.abort,
            }
            # moto answers a part of an ended multipart upload with 500, as if that might pass.
            refused = (UploadOvertaken, *([BackendUnavailable] if is_moto else []))
            with pytest.raises(refused):
                await calls[verb]()  # type: ignore[misc]
            await new.append([DATA[3 * PART :]])
            await new.commit(digest_of(DATA))
    assert await fetch(two, digest_of(DATA)) == DATA
    assert (await one.peek(upload_id)).committed == digest_of(DATA)


async def test_of_two_replicas_at_once_one_saves(replicas: tuple[Backend, Backend]) -> None:
    """Issue: whoever is told that his bytes are saved has them there; the other is overtaken."""
    rounds = 8
    for _ in range(rounds):
        upload_id = await begin(replicas[0])
        told: list[bytes] = []

        async def write(backend: Backend, letter: bytes) -> None:
            try:
                async with staged(backend, upload_id) as staging:  # noqa: B023
                    await staging.append([letter * (2 * PART + 5)])
                    await staging.checkpoint(letter)
                    told.append(letter)  # noqa: B023
            except UploadOvertaken:
                pass

        await asyncio.gather(write(replicas[0], b"a"), write(replicas[1], b"b"))
        async with staged(replicas[0], upload_id) as staging:
            whole = await joined(staging.read(Span(0, staging.offset)))
            await staging.abort()
        assert len(whole) == (2 * PART + 5) * len(told)
        assert whole == b"".join(letter * (2 * PART + 5) for letter in told)


@pytest.mark.parametrize("after", ["receipt", "complete"])
async def test_whoever_reads_a_receipt_does_the_rest(
    replicas: tuple[Backend, Backend], monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """B3: the receipt decides; a crash after it has lost nothing."""
    one, two = replicas
    upload_id = await crashed_commit(one, DATA, monkeypatch, after)
    receipt = await two.peek(upload_id)
    assert (receipt.committed, receipt.offset) == (digest_of(DATA), len(DATA))
    assert await fetch(two, digest_of(DATA)) == DATA
    with pytest.raises(UploadUnknown):
        await one.stage(upload_id)


async def test_a_receipt_is_settled_before_it_is_forgotten(
    replicas: tuple[Backend, Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B3: when its client never comes back, too."""
    upload_id = await crashed_commit(replicas[0], DATA, monkeypatch, "receipt")
    await replicas[1].forget(upload_id)
    assert await fetch(replicas[1], digest_of(DATA)) == DATA
    with pytest.raises(UploadUnknown):
        await replicas[1].peek(upload_id)


async def test_a_receipt_does_not_bring_a_deleted_blob_back(backend: Backend) -> None:
    """delete: a blob that is gone stays gone."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.commit(digest_of(DATA))
    await backend.delete(digest_of(DATA))
    await backend.peek(upload_id)
    await backend.forget(upload_id)
    assert [info async for info in backend.blobs()] == []


async def test_a_missing_object_is_looked_for_once_more(
    replicas: tuple[Backend, Backend], site: S3Site
) -> None:
    """Issue, reads: behind a record that was believed for a moment; then the blob is damaged."""
    one, two = replicas
    digest = await store(one, DATA)
    source = await two.open(digest)
    await one.delete(digest)
    await _remove_objects(site)
    await store(one, DATA)
    assert source.size_bytes == len(DATA)
    assert await joined(source.read(Span(0, len(DATA)))) == DATA  # type: ignore[union-attr]
    await _remove_objects(site)
    with pytest.raises(BlobCorrupt):
        await joined(source.read(Span(0, len(DATA))))  # type: ignore[union-attr]
    assert [info.size_bytes async for info in two.blobs()] == [len(DATA)]
    assert [info.size_bytes async for info in two.blobs(measured=True)] == [0]
    with pytest.raises(BlobNotFound):
        await two.measure(digest)
    await one.delete(digest)


async def _remove_objects(site: S3Site) -> None:
    for key in await off_loop(site.bucket.keys, f"{PREFIX}objects/"):
        await off_loop(site.bucket.delete, key)


async def test_redirects_lead_to_the_blob_alone(site: S3Site) -> None:
    """Issue, reads: a URL only where one object is the blob, and nothing behind its end."""
    redirecting = S3Site(site.bucket, redirect=True)
    backend = await off_loop(redirecting.open)
    whole = await backend.open(await store(backend, DATA))
    assert isinstance(whole, RemoteSource)
    assert whole.size_bytes == len(DATA)
    assert site.bucket.name in whole.url
    upload_id = await begin(backend)
    first = await backend.stage(upload_id)
    await first.append([DATA[: 2 * PART]])
    await first.checkpoint(b"")
    await crash(first)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA[2 * PART : -1]])
        await staging.commit(digest_of(DATA[:-1]))
    assert not isinstance(await backend.open(digest_of(DATA[:-1])), RemoteSource)
    await backend.aclose()


async def kinds(
    backend: Backend, *, deep: bool = False, remove: bool = False, later_s: float = 0.0
) -> list[str]:
    """Return what a sweep finds, some time from now."""
    sweep = Sweep(
        cast("S3", backend).bucket,
        grace_s=3600,
        remove=remove,
        clock=lambda: time.time() + later_s,
    )

    def look() -> list[str]:
        found = [*sweep.shallow(), *(sweep.deep() if deep else ())]
        return [orphan.kind for orphan in found]

    return await off_loop(look)


async def test_what_a_dead_writer_left_is_swept(
    backend: Backend, site: S3Site, is_moto: bool
) -> None:
    """Issue: multipart uploads that no record names; not while they may still be named."""
    upload_id = await begin(backend)
    staging = await backend.stage(upload_id)
    await staging.append([DATA])
    await crash(staging)
    assert len(await off_loop(site.bucket.multipart_uploads)) == 1
    if not is_moto:  # all multipart uploads of moto began in 2010
        assert await kinds(backend, remove=True) == []
    assert await kinds(backend, later_s=LONG_S) == ["multipart"]
    assert len(await off_loop(site.bucket.multipart_uploads)) == 1
    assert await kinds(backend, later_s=LONG_S, remove=True) == ["multipart"]
    assert await off_loop(site.bucket.multipart_uploads) == []
    async with staged(backend, upload_id) as after:
        assert after.offset == 0


async def test_a_session_s_multipart_upload_is_no_orphan(backend: Backend, site: S3Site) -> None:
    """Issue: nothing is touched that a record names, however old."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.checkpoint(b"")
    assert await kinds(backend, later_s=LONG_S, remove=True, deep=True) == []
    async with staged(backend, upload_id) as staging:
        await staging.commit(digest_of(DATA))
    assert await kinds(backend, later_s=LONG_S, remove=True, deep=True) == []
    assert await fetch(backend, digest_of(DATA)) == DATA


async def test_objects_of_deleted_and_replaced_blobs_go_late(
    backend: Backend, site: S3Site
) -> None:
    """Issue: long after the last reader; never one that a record names again."""
    digest = await store(backend, DATA)
    await store(backend, DATA)
    assert len(await off_loop(site.bucket.keys, f"{PREFIX}objects/")) == 2
    assert await kinds(backend, remove=True) == []
    assert await kinds(backend, later_s=LONG_S, remove=True) == ["replaced"]
    assert await fetch(backend, digest) == DATA
    await backend.delete(digest)
    assert await kinds(backend, later_s=LONG_S, remove=True) == ["replaced"]
    assert await off_loop(site.bucket.keys, f"{PREFIX}objects/") == []


async def test_an_object_without_a_record_is_found_by_a_deep_look(
    backend: Backend, site: S3Site
) -> None:
    """Issue: objects without a record; what is not understood is not touched."""
    ours = f"{PREFIX}objects/{'a' * 32}-{'b' * 16}"
    theirs = f"{PREFIX}objects/readme.txt"
    for key in (ours, theirs):
        await off_loop(site.bucket.write, key, b"?")
    assert await kinds(backend, later_s=LONG_S, remove=True) == []
    assert await kinds(backend, deep=True, remove=True) == []
    assert await kinds(backend, deep=True, later_s=LONG_S, remove=True) == ["object"]
    assert await off_loop(site.bucket.keys, f"{PREFIX}objects/") == [theirs]
    await off_loop(site.bucket.delete, theirs)


async def test_an_abort_that_died_is_swept(
    backend: Backend, site: S3Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B8: the record says that it ended; whoever sweeps removes the rest."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.checkpoint(b"")
        with monkeypatch.context() as patch:
            patch.setattr(cast("S3", backend).bucket.calls, "abort", _die)
            with pytest.raises(BackendUnavailable):
                await staging.abort()
    with pytest.raises(UploadUnknown):
        await backend.peek(upload_id)
    assert await kinds(backend, later_s=LONG_S, remove=True) == ["session"]
    assert await off_loop(site.bucket.keys, PREFIX) == []
    assert await off_loop(site.bucket.multipart_uploads) == []


async def test_records_of_a_long_session_are_few(backend: Backend, site: S3Site) -> None:
    """Old records are removed as new ones come."""
    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        for _ in range(40):
            await staging.append([b"x"])
            await staging.checkpoint(b"")
        records = await off_loop(site.bucket.keys, f"{PREFIX}uploads/{upload_id}/")
        assert len(records) <= 20
        await staging.commit(digest_of(b"x" * 40))
    assert await fetch(backend, digest_of(b"x" * 40)) == b"x" * 40


async def test_uploads_share_the_memory_for_parts(site: S3Site) -> None:
    """Issue: from the one budget; many writers with little memory all come to their end."""
    narrow = S3Site(site.bucket)
    narrow.config = replace(
        narrow.config,
        limits=replace(narrow.config.limits, bytes_in_flight_max_bytes=4 * PART),
    )
    backend = await off_loop(narrow.open)
    blobs = [secrets.token_bytes(3 * PART + number) for number in range(12)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(store(backend, blob) for blob in blobs))
    for blob in blobs:
        assert await fetch(backend, digest_of(blob)) == blob
    await backend.aclose()


async def test_a_slow_part_holds_up_no_other(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue: several at a time, in whatever order they arrive; the last goes beside them too."""
    calls = cast("S3", backend).bucket.calls
    put_part, arrived = calls.put_part, threading.Semaphore(0)

    def put_first_part_last(key: str, multipart_id: str, number: int, body: memoryview) -> str:
        for _ in range(5 if number == 1 else 0):
            if not arrived.acquire(timeout=20):
                raise BackendUnavailable("the others wait for the first")
        etag = put_part(key, multipart_id, number, body)
        arrived.release()
        return etag

    monkeypatch.setattr(calls, "put_part", put_first_part_last)
    assert await fetch(backend, await store(backend, DATA)) == DATA


@pytest.mark.parametrize("end_bytes", [7, 100 * KIB])
async def test_a_last_part_that_fails_gives_its_memory_back(
    site: S3Site, monkeypatch: pytest.MonkeyPatch, end_bytes: int
) -> None:
    """commit: the staging is still there, at its record, and goes on."""
    wide = S3Site(site.bucket, part_size_bytes=2 * PART)
    backend = cast("S3", await off_loop(wide.open))
    calls, memory = backend.bucket.calls, backend.bucket.memory
    put_part, end = calls.put_part, secrets.token_bytes(end_bytes)

    def put_but_the_last(key: str, multipart_id: str, number: int, body: memoryview) -> str:
        if number == 3:
            raise BackendUnavailable("no more")
        return put_part(key, multipart_id, number, body)

    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA[: 4 * PART]])
        await staging.checkpoint(b"")
        await staging.append([end])
        with monkeypatch.context() as patch:
            patch.setattr(calls, "put_part", put_but_the_last)
            with pytest.raises(BackendUnavailable):
                await staging.commit(digest_of(DATA[: 4 * PART] + end))
        assert staging.offset == 4 * PART
        await staging.append([end])
        await staging.commit(digest_of(DATA[: 4 * PART] + end))
    assert await fetch(backend, digest_of(DATA[: 4 * PART] + end)) == DATA[: 4 * PART] + end
    assert memory.quota.used == 0
    await backend.aclose()
    assert await off_loop(wide.leftovers) == []


async def test_a_cancelled_commit_leaves_no_part_behind_that_nobody_claimed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5, B6: a successor let in by a record at rest sends the part of the same number."""
    calls = cast("S3", backend).bucket.calls
    put_part, begun, may_arrive = calls.put_part, threading.Event(), threading.Event()

    def put_part_late(key: str, multipart_id: str, number: int, body: memoryview) -> str:
        begun.set()
        assert may_arrive.wait(timeout=20)
        return put_part(key, multipart_id, number, body)

    upload_id = await begin(backend)
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.checkpoint(b"", last=True)
    async with staged(backend, upload_id) as staging:
        monkeypatch.setattr(calls, "put_part", put_part_late)
        async with asyncio.TaskGroup() as group:
            committing = group.create_task(staging.commit(digest_of(DATA)))
            await off_loop(begun.wait, 20)
            committing.cancel()
            await asyncio.wait([committing], timeout=0.2)
            assert not committing.done()
            may_arrive.set()
        assert committing.cancelled()
    async with staged(backend, upload_id) as staging:
        await staging.append([DATA])
        await staging.commit(digest_of(DATA + DATA))
    assert await fetch(backend, digest_of(DATA + DATA)) == DATA + DATA


async def test_an_upload_of_more_parts_than_the_engine_takes(
    site: S3Site, replicas: object
) -> None:
    """Issue: Swift ships with 1,000 parts; what is longer goes on in another object."""
    backend = cast("S3", await off_loop(site.open))
    most_parts = backend.bucket.most_parts
    if most_parts > 1000:
        backend.bucket = replace(backend.bucket, most_parts=3)
        most_parts = 3
    data = secrets.token_bytes((most_parts + 2) * PART + 7)
    digest = await store(backend, data)
    entry = await off_loop(backend.bucket.index.find, digest)
    assert entry is not None
    assert all(each.size_bytes <= most_parts * PART for each in entry.segments)
    assert len(entry.segments) > 1
    assert await fetch(backend, digest) == data
    await backend.aclose()


async def test_a_client_that_pauses_holds_the_one_buffer_that_it_fills(site: S3Site) -> None:
    """Promise 7: parts give their memory back as the engine has them, not when more bytes come."""
    backend = cast("S3", await off_loop(site.open))
    quota = backend.bucket.memory.quota
    async with staged(backend, await begin(backend)) as staging:
        await staging.append([DATA[: 3 * PART], b"x"])
        async with asyncio.timeout(60):
            while quota.used > PART:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert quota.used == PART
        await staging.append([DATA[: 2 * PART]])
        await staging.commit(digest_of(DATA[: 3 * PART] + b"x" + DATA[: 2 * PART]))
    assert quota.used == 0
    await backend.aclose()
