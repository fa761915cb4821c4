"""The client against the real daemon: kill -9, take-over, limits, tokens, damage."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from blobd.client import Blob, Client, Denied, DigestWrong, NotFound, Progress, Refused, Retries
from blobd.digest import Digest
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 1024 * 1024
PATIENT = Retries(in_a_row=40, first_delay_s=0.05, max_delay_s=0.5)


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client(daemon.blob_api_url, retries=PATIENT) as client:
        yield client


@pytest.fixture
def data() -> bytes:
    return os.urandom(48 * MIB + 5)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "layer"
    path.write_bytes(data)
    return path


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def holds(file: Path, data: bytes) -> bool:
    return file.read_bytes() == data


async def on_a_thread(*calls: object) -> None:
    loop = asyncio.get_running_loop()
    for call in calls:
        assert callable(call)
        await loop.run_in_executor(None, call)


async def test_a_push_and_a_pull_survive_kill_9(
    daemon: Daemon, client: Client, file: Path, data: bytes, tmp_path: Path
) -> None:
    """Promise 5: after a crash the push goes on, and nothing acknowledged is read or sent again.

    What had arrived of the chunk under way is read again once.
    """
    on_its_way = asyncio.Event()

    def note(progress: Progress) -> None:
        if progress.done_bytes >= 24 * MIB:
            on_its_way.set()

    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(client.push(file, chunk_bytes=8 * MIB, progress=note))
        await on_its_way.wait()
        await on_a_thread(daemon.kill, daemon.start)
    blob = pushing.result()
    assert blob.digest == digest_of(data)
    assert daemon.metric("blobd_received_bytes_total") <= blob.size_bytes - 16 * MIB
    assert daemon.metric("blobd_reread_bytes_total") <= 8 * MIB

    on_its_way.clear()
    async with asyncio.TaskGroup() as group:
        pulling = group.create_task(client.pull(blob.digest, tmp_path / "copy", progress=note))
        await on_its_way.wait()
        await on_a_thread(daemon.kill, daemon.start)
    assert pulling.result() == blob
    assert holds(tmp_path / "copy", data)


async def test_another_process_continues_an_upload(
    daemon: Daemon, client: Client, file: Path, data: bytes
) -> None:
    """Promise 5: the id is all that a later process needs; what is there is not sent again."""
    seen: list[Progress] = []
    tasks: list[asyncio.Task[Blob]] = []

    def cancel_half_way(progress: Progress) -> None:
        seen.append(progress)
        if progress.done_bytes >= 24 * MIB:
            tasks[0].cancel()

    async with asyncio.TaskGroup() as group:
        pushing = client.push(file, chunk_bytes=8 * MIB, progress=cancel_half_way)
        tasks.append(group.create_task(pushing))
    before = daemon.metric("blobd_received_bytes_total")
    async with Client(daemon.blob_api_url) as later:
        blob = await later.push(file, upload_id=seen[-1].upload_id)
    assert blob.digest == digest_of(data)
    sent_again = daemon.metric("blobd_received_bytes_total") - before
    assert sent_again <= blob.size_bytes - 16 * MIB


async def test_a_push_takes_its_upload_over_from_a_dead_connection(
    daemon: Daemon, client: Client, file: Path, data: bytes
) -> None:
    """Promise 6: a connection that hangs does not keep the upload from its client."""
    upload_id = await client.requests.begin()
    url = urlsplit(daemon.blob_api_url)
    _, hanging = await asyncio.open_connection(url.hostname, url.port)
    head = f"PATCH /uploads/{upload_id} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    hanging.write(head.encode() + data[: 4 * MIB])
    await hanging.drain()
    blob = await client.push(file, upload_id=upload_id)
    assert blob.digest == digest_of(data)
    assert daemon.metric("blobd_upload_takeovers_total") == 1
    hanging.close()


async def test_small_and_empty_blobs_are_stored(daemon: Daemon, client: Client) -> None:
    """In one request, and found again."""
    for data in (b"", b"x", b"{}" * 1000, os.urandom(64 * 1024), os.urandom(64 * 1024 + 1)):
        blob = await client.push(data)
        assert blob.digest.encoded == hashlib.sha256(data).hexdigest()
        assert b"".join([piece async for piece in client.read(blob.digest)]) == data


async def test_an_async_source_is_stored(daemon: Daemon, client: Client, data: bytes) -> None:
    """In acknowledged chunks, hashed once."""

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 1_000_003):
            yield data[at : at + 1_000_003]

    blob = await client.push(pieces())
    assert blob.digest == digest_of(data)


async def test_blobs_are_listed_in_order_and_deleted(daemon: Daemon, client: Client) -> None:
    """What is there, and after DELETE not any more."""
    pushed = sorted([(await client.push(os.urandom(10))).digest for _ in range(5)])
    assert [blob.digest async for blob in client.blobs()] == pushed
    assert [blob.digest async for blob in client.blobs(after=pushed[1])] == pushed[2:]
    page = await client.requests.blobs(limit=2)
    assert (len(page.blobs), page.next_after) == (2, pushed[1])
    await client.delete(pushed[0])
    with pytest.raises(NotFound):
        await client.stat(pushed[0])
    with pytest.raises(NotFound):
        await client.delete(pushed[0])


async def test_open_uploads_are_listed_and_cancelled(daemon: Daemon, client: Client) -> None:
    """With the bytes that are safe."""
    upload_id = await client.requests.begin(algorithm="sha512")
    assert upload_id is not None
    (upload,) = await client.uploads()
    assert (upload.id, upload.offset, upload.algorithm) == (upload_id, 0, "sha512")
    await client.cancel(upload_id)
    assert await client.uploads() == ()


async def test_a_limit_is_told_before_a_byte_is_sent(
    tmp_path: Path, file: Path, data: bytes
) -> None:
    """Promise 8: the announced size is refused with a message that names both numbers."""
    with Daemon(tmp_path / "data", settings={"limits.max_blob_bytes": "1000000"}) as daemon:
        async with Client(daemon.blob_api_url) as client:
            with pytest.raises(Denied) as caught:
                await client.push(file)
        assert "1000000" in caught.value.message
        assert str(len(data)) in caught.value.message
        assert (caught.value.code, caught.value.status) == ("DENIED", 413)
        assert daemon.metric("blobd_received_bytes_total") == 0


async def test_without_its_token_a_client_is_told_so(tmp_path: Path) -> None:
    """401 with a message, for every verb."""
    with Daemon(tmp_path / "data", settings={"blob_api.tokens": "sesame"}) as daemon:
        async with Client(daemon.blob_api_url, "guess") as client:
            with pytest.raises(Denied) as caught:
                await client.uploads()
        assert (caught.value.code, caught.value.status) == ("UNAUTHORIZED", 401)
        async with Client(daemon.blob_api_url, "sesame") as client:
            assert await client.uploads() == ()


async def test_wrong_bytes_are_refused_and_damage_is_noticed(
    daemon: Daemon, client: Client, file: Path, tmp_path: Path
) -> None:
    """Promise 1 from both ends: DIGEST_INVALID on the way in, DigestWrong on the way out."""
    with pytest.raises(Refused) as caught:
        await client.push(file, digest=Digest("sha256", "0" * 64))
    assert caught.value.code == "DIGEST_INVALID"
    blob = await client.push(file)
    (stored,) = daemon.data.rglob(blob.digest.encoded)
    stored.chmod(0o600)
    with stored.open("r+b") as damaged:
        damaged.seek(20 * MIB)
        damaged.write(b"damage")
    with pytest.raises(DigestWrong):
        await client.pull(blob.digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
