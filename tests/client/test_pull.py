"""Pulling: whole and verified, or not at all; and going on by Range."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from blobd.client import AnswerMalformed, Blob, Client, DigestWrong, NotFound, Progress, Unreachable
from blobd.digest import Digest, Span
from tests.client.scripted import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.scripted import Script

MIB = 1024 * 1024


@pytest.fixture
def data() -> bytes:
    return os.urandom(3 * MIB + 11)


@pytest.fixture
def digest(script: Script, data: bytes) -> Digest:
    return Digest.parse(script.store(data))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def gets(script: Script) -> list[str | None]:
    return [asked.headers.get("range") for asked in script.asked if asked.method == "GET"]


async def test_a_pull_brings_the_file_and_nothing_else(
    client: Client, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """Promise 1: the bytes of the digest, in a file of the given name."""
    blob = await client.pull(digest, tmp_path / "copy")
    assert (blob.digest, blob.size_bytes) == (digest, len(data))
    assert (tmp_path / "copy").read_bytes() == data
    assert names_in(tmp_path) == ["copy"]


async def test_an_empty_blob_is_an_empty_file(
    client: Client, script: Script, tmp_path: Path
) -> None:
    """There is no range of nothing; the file appears all the same."""
    digest = Digest.parse(script.store(b""))
    await client.pull(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""
    assert gets(script) == []


@pytest.mark.parametrize("at", [0, 1, MIB, 3 * MIB + 10])
async def test_a_dropped_download_goes_on_by_range(
    client: Client, script: Script, tmp_path: Path, digest: Digest, data: bytes, at: int
) -> None:
    """What has arrived is not asked for again."""
    script.faults.append(Fault("GET", drop_after_bytes=at))
    await client.pull(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    first, second = gets(script)
    assert first == f"bytes=0-{len(data) - 1}"
    assert second is not None
    assert int(second.removeprefix("bytes=").partition("-")[0]) <= at


async def test_a_pull_that_gave_up_is_continued_by_the_next(
    client: Client, script: Script, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """Also in another process: what arrived waits beside the target."""
    script.faults.append(Fault("GET", drop_after_bytes=2 * MIB))
    script.faults.extend(Fault("GET", lose_answer=True) for _ in range(9))
    with pytest.raises(Unreachable):
        await client.pull(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    script.faults.clear()
    script.asked.clear()
    await client.pull(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert gets(script) != [f"bytes=0-{len(data) - 1}"]
    assert names_in(tmp_path) == ["copy"]


async def test_wrong_bytes_never_get_the_name(
    client: Client, script: Script, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """Promise 1, held by the client too: a flipped bit is an error and leaves nothing."""
    script.blobs[str(digest)] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(DigestWrong) as caught:
        await client.pull(digest, tmp_path / "copy")
    assert caught.value.wanted == digest
    assert names_in(tmp_path) == []


async def test_an_existing_file_is_replaced_only_by_the_whole(
    client: Client, script: Script, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """Promise 9 on the client's side: until the last byte is verified the old file stands."""
    (tmp_path / "copy").write_bytes(b"old")
    script.faults.extend(Fault("GET", drop_after_bytes=0) for _ in range(4))
    with pytest.raises(Unreachable):
        await client.pull(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"old"
    script.faults.clear()
    await client.pull(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


async def test_two_pulls_into_one_place_do_not_mix(
    client: Client, tmp_path: Path, digest: Digest
) -> None:
    """The second is told so at once."""
    with (tmp_path / f".copy.{digest.encoded[:16]}.part").open("wb") as partial:
        fcntl.flock(partial, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="another pull"):
            await client.pull(digest, tmp_path / "copy")


async def test_an_unknown_blob_is_not_found(client: Client, tmp_path: Path) -> None:
    """Nothing is left behind by asking."""
    with pytest.raises(NotFound):
        await client.pull(Digest("sha256", "0" * 64), tmp_path / "copy")
    assert names_in(tmp_path) == []


async def test_a_cancelled_pull_keeps_what_it_has(
    client: Client, script: Script, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """Cancellation leaves the partial file, unlocked, and the next pull completes it."""
    tasks: list[asyncio.Task[Blob]] = []

    def cancel_half_way(progress: Progress) -> None:
        if progress.done_bytes >= MIB:
            tasks[0].cancel()

    async with asyncio.TaskGroup() as group:
        pulling = client.pull(digest, tmp_path / "copy", progress=cancel_half_way)
        tasks.append(group.create_task(pulling))
    assert not (tmp_path / "copy").exists()
    script.asked.clear()
    await client.pull(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert gets(script) != [f"bytes=0-{len(data) - 1}"]


async def test_reading_verifies_the_whole(
    client: Client, script: Script, digest: Digest, data: bytes
) -> None:
    """A frontend that streams learns of damage before it ends its own answer."""
    got = b"".join([piece async for piece in client.read(digest)])
    assert hashlib.sha256(got).hexdigest() == digest.encoded
    script.blobs[str(digest)] = data[::-1]
    with pytest.raises(DigestWrong):
        async for _ in client.read(digest):
            pass


async def test_reading_a_span_yields_exactly_it(
    client: Client, script: Script, digest: Digest, data: bytes
) -> None:
    """Over as many connections as it takes."""
    script.faults.append(Fault("GET", drop_after_bytes=1000))
    span = Span(5, 2 * MIB)
    async with aclosing(client.read(digest, span)) as pieces:
        got = b"".join([piece async for piece in pieces])
    assert got == data[5 : 2 * MIB]


async def test_another_range_than_asked_for_is_refused(
    client: Client, script: Script, tmp_path: Path, digest: Digest
) -> None:
    """Bytes from the wrong place are noticed by their header, not only at the end."""
    wrong = (206, {"Content-Range": "bytes 7-8/9"}, b"xy")
    script.faults.append(Fault("GET", answer=wrong))
    with pytest.raises(AnswerMalformed, match="bytes 7-8/9"):
        await client.pull(digest, tmp_path / "copy")
