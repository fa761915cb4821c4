"""Pushing: one pass over the bytes, and going on after every kind of break."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from blobd.client import (
    Client,
    Denied,
    NotFound,
    Progress,
    Refused,
    Retries,
    SourceSpent,
    Unavailable,
    Unreachable,
)
from blobd.digest import Digest
from blobd.errors import DigestUnsupported
from tests.client.scripted import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.client.scripted import Script

MIB = 1024 * 1024


def sha256(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


@pytest.fixture
def data() -> bytes:
    return os.urandom(5 * MIB + 123)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "layer"
    path.write_bytes(data)
    return path


async def in_pieces(data: bytes, piece_bytes: int = 300_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), piece_bytes):
        yield data[at : at + piece_bytes]


async def test_a_file_is_sent_once_and_named_by_its_hash(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """One pass: begin, one PATCH with every byte, finish under the computed digest."""
    blob = await client.push(file)
    assert (blob.digest, blob.size_bytes) == (sha256(data), len(data))
    assert script.blobs[str(blob.digest)] == data
    assert script.methods() == ["POST", "PATCH", "PUT"]
    assert f"size={len(data)}" in script.asked[0].target


async def test_a_small_blob_takes_one_request(client: Client, script: Script) -> None:
    """Configs and manifests are small and many; three requests would triple their cost."""
    blob = await client.push(b"{}")
    assert script.blobs == {str(blob.digest): b"{}"}
    assert script.methods() == ["POST"]


async def test_nothing_at_all_is_a_blob_too(client: Client, script: Script) -> None:
    """Zero bytes are a blob like any other."""
    blob = await client.push(b"")
    assert blob.digest == sha256(b"")
    assert script.blobs == {str(blob.digest): b""}


async def test_a_known_digest_that_is_stored_already_sends_no_byte(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """The server says 201 to the announcement; the blob is not sent."""
    digest = Digest.parse(script.store(data))
    blob = await client.push(file, digest=digest)
    assert blob.size_bytes == len(data)
    assert script.received_bytes() == 0


@pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
async def test_another_algorithm_is_announced(
    client: Client, script: Script, file: Path, algorithm: str
) -> None:
    """R29: the algorithm goes with the POST, so that the server hashes once."""
    script.faults.append(Fault("PUT", answer=(201, {"Location": "/blobs/x"}, b"")))
    blob = await client.push(file, algorithm=algorithm)
    assert blob.digest.algorithm == algorithm
    assert f"digest-algorithm={algorithm}" in script.asked[0].target


async def test_an_unknown_algorithm_is_refused_before_anything_is_sent(
    client: Client, script: Script, file: Path
) -> None:
    """DigestUnsupported is the caller's mistake, not the server's to find."""
    with pytest.raises(DigestUnsupported):
        await client.push(file, algorithm="md5")
    with pytest.raises(DigestUnsupported):
        await client.push(file, digest=Digest("md5", "00"))
    assert script.asked == []


@pytest.mark.parametrize("at", [0, 1, 2, MIB, 5 * MIB + 122])
async def test_a_dropped_connection_goes_on_at_the_exact_byte(
    client: Client, script: Script, file: Path, data: bytes, at: int
) -> None:
    """Promise 5: what the server acknowledged is not sent again, not even one byte of it."""
    script.faults.append(Fault("PATCH", drop_after_bytes=at))
    blob = await client.push(file)
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data)


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_range_that_may_mean_no_byte_or_one_is_found_out(
    client: Client, script: Script, file: Path, data: bytes, at: int
) -> None:
    """Other servers say `0-0` of both; a chunk that they refuse tells which it was."""
    script.range_of_nothing = True
    script.faults.append(Fault("PATCH", drop_after_bytes=at))
    blob = await client.push(file)
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data)


async def test_drops_that_bring_progress_are_borne_without_end(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """Patience counts failures in a row; bytes gained renew it."""
    script.faults.extend(Fault("PATCH", drop_after_bytes=100_000) for _ in range(20))
    blob = await client.push(file)
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data)


async def test_drops_without_progress_end_in_an_error_that_names_the_upload(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """Bounded: after three tries in a row the caller hears of it, and can go on later."""
    script.faults.append(Fault("PATCH", drop_after_bytes=MIB))
    script.faults.extend(Fault("GET", lose_answer=True) for _ in range(9))
    with pytest.raises(Unreachable) as caught:
        await client.push(file)
    script.faults.clear()
    assert caught.value.upload_id in script.uploads
    blob = await client.push(file, upload_id=caught.value.upload_id)
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data)


async def test_a_stale_status_is_corrected_by_the_refused_chunk(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """Promise 6: a status may lag behind its writer; the 416 that follows tells the truth."""
    script.faults.append(Fault("PATCH", drop_after_bytes=2 * MIB))
    script.stale_offsets.append(MIB)
    blob = await client.push(file)
    assert script.blobs[str(blob.digest)] == data


async def test_a_lost_answer_to_the_last_request_is_asked_for_again(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """The PUT is repeated as it was; its 201 was only lost."""
    script.faults.extend(Fault("PUT", lose_answer=True) for _ in range(3))
    blob = await client.push(file)
    assert script.blobs[str(blob.digest)] == data
    assert script.methods() == ["POST", "PATCH", "PUT", "PUT", "PUT", "PUT"]


async def test_a_lost_session_begins_anew_where_the_source_can(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """A server that forgot the upload is given a file again from its first byte."""
    script.faults.append(Fault("PATCH", drop_after_bytes=MIB))
    script.faults.append(Fault("GET", forget_upload=True))
    blob = await client.push(file)
    assert script.blobs[str(blob.digest)] == data
    assert script.methods().count("POST") == 2


async def test_retry_after_is_waited_for(client: Client, script: Script, file: Path) -> None:
    """A server that asks for a pause is not hurried, however short one's own would be."""
    script.faults.append(Fault("POST", answer=(503, {"Retry-After": "1"}, b"")))
    began = time.monotonic()
    await client.push(file)
    assert time.monotonic() - began >= 1
    assert script.methods()[:2] == ["POST", "POST"]


async def test_a_limit_is_told_once_and_not_tried_again(
    client: Client, script: Script, file: Path
) -> None:
    """413 DENIED before the body: the client reads code, message and status, and stops."""
    told = b'{"errors":[{"code":"DENIED","message":"over the limit of 5 bytes","detail":{}}]}'
    script.faults.append(Fault("PATCH", answer=(413, {}, told)))
    with pytest.raises(Denied, match="over the limit") as caught:
        await client.push(file)
    assert (caught.value.code, caught.value.status) == ("DENIED", 413)
    assert caught.value.upload_id is None
    assert script.methods() == ["POST", "PATCH"]


async def test_wrong_bytes_for_a_given_digest_are_an_error(
    client: Client, script: Script, file: Path
) -> None:
    """The digest is the caller's word; the server's refusal reaches the caller."""
    with pytest.raises(Refused) as caught:
        await client.push(file, digest=sha256(b"something else"))
    assert caught.value.code == "DIGEST_INVALID"
    assert script.blobs == {}


async def test_an_unknown_upload_is_not_replaced_behind_the_callers_back(
    client: Client, script: Script, file: Path
) -> None:
    """`upload_id=` names one upload; when it is gone the caller decides."""
    with pytest.raises(NotFound):
        await client.push(file, upload_id="0" * 32)
    assert "POST" not in script.methods()


async def test_an_async_source_is_sent_in_chunks_and_survives_drops(
    client: Client, script: Script, data: bytes
) -> None:
    """Only the chunk that is not acknowledged is kept, and it is enough."""
    script.faults.append(Fault("PATCH", drop_after_bytes=700_001))
    script.faults.append(Fault("PATCH", drop_after_bytes=0))
    blob = await client.push(in_pieces(data), chunk_bytes=MIB)
    assert (blob.digest, blob.size_bytes) == (sha256(data), len(data))
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data)


async def test_an_async_source_continues_an_upload_by_skipping(
    client: Client, script: Script, data: bytes
) -> None:
    """Bytes the upload has already are hashed, not sent."""
    upload_id = await client.requests.begin()
    assert upload_id is not None
    script.uploads[upload_id] += data[: 3 * MIB + 7]
    blob = await client.push(in_pieces(data), upload_id=upload_id)
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data) - (3 * MIB + 7)


async def test_an_async_source_cannot_go_back_to_what_it_let_go(
    client: Client, script: Script, data: bytes
) -> None:
    """A server that lost acknowledged bytes cannot be served from a stream: a clear error."""
    script.faults.append(Fault("PATCH"))
    script.faults.append(Fault("PATCH", drop_after_bytes=10))
    script.stale_offsets.append(5)
    with pytest.raises(SourceSpent, match="fell back to byte 5"):
        await client.push(in_pieces(data), chunk_bytes=MIB)


async def test_an_error_of_the_source_comes_out_as_itself(client: Client, script: Script) -> None:
    """Neither retried nor dressed up as trouble of the connection."""

    async def breaks() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        await client.push(breaks())
    assert "PUT" not in script.methods()


async def test_a_file_that_shrinks_is_an_error(client: Client, script: Script, file: Path) -> None:
    """The announced size cannot be kept any more; no retry can help."""

    def shrink(progress: Progress) -> None:
        if progress.done_bytes == 0:
            os.truncate(file, 2 * MIB)

    with pytest.raises(SourceSpent, match="ended at byte"):
        await client.push(file, progress=shrink)
    assert script.methods().count("PATCH") == 1


async def test_a_file_that_is_not_there_is_an_oserror(client: Client, tmp_path: Path) -> None:
    """As `open` would raise it."""
    with pytest.raises(FileNotFoundError):
        await client.push(tmp_path / "nothing")


async def test_progress_ends_at_the_whole_and_names_the_upload(
    client: Client, script: Script, file: Path, data: bytes
) -> None:
    """A bar can be drawn from it, and a later process can continue from it."""
    seen: list[Progress] = []
    await client.push(file, progress=seen.append)
    assert seen[0] == Progress(0, len(data), seen[0].upload_id)
    assert seen[-1].done_bytes == len(data)
    assert seen[-1].upload_id in script.finished
    assert [step.done_bytes for step in seen] == sorted(step.done_bytes for step in seen)


async def test_a_silent_server_is_a_lost_connection(script: Script, file: Path) -> None:
    """Nothing moved for `stall_s`: the same as a drop, and borne as often."""
    retries = Retries(in_a_row=1, first_delay_s=0.001)
    async with Client(script.address, retries=retries, stall_s=0.05) as client:
        script.faults.append(Fault("POST", silent=True))
        script.faults.append(Fault("POST", silent=True))
        with pytest.raises(Unreachable, match=r"nothing moved for 0\.05 s"):
            await client.push(file)


async def test_server_errors_are_borne_only_so_often(
    client: Client, script: Script, file: Path
) -> None:
    """A server that keeps failing is told of, with its own words."""
    script.faults.extend(Fault("POST", answer=(500, {}, b"<html>")) for _ in range(4))
    with pytest.raises(Unavailable, match="<html>"):
        await client.push(file)
    assert script.methods() == ["POST"] * 4
