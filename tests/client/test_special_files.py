"""Pushing from and pulling into what is no regular file: pipes, FIFOs, devices, links, folders."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blobd.client import Client, DigestWrong, Progress, Refused, SourceChanged, SourceSpent
from blobd.digest import Digest
from tests.client.scripted import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.client.scripted import Script

MIB = 1024 * 1024


def sha256(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


@pytest.fixture
def data() -> bytes:
    return os.urandom(5 * MIB + 123)


@pytest.fixture
def digest(script: Script, data: bytes) -> Digest:
    return Digest.parse(script.store(data))


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@contextmanager
def written(target: Path | int, data: bytes) -> Iterator[None]:
    """Write to a FIFO or a descriptor on a thread, and close it."""

    def write() -> None:
        with open(target, "wb", buffering=0) as file, suppress(BrokenPipeError):  # noqa: PTH123
            file.writelines(data[at : at + 50_000] for at in range(0, len(data), 50_000))

    with running(write):
        yield


@contextmanager
def read(target: Path | int, into: bytearray) -> Iterator[None]:
    """Read a FIFO or a descriptor to its end, on a thread."""

    def read_all() -> None:
        with open(target, "rb", buffering=0) as file:  # noqa: PTH123
            while piece := file.read(50_000):
                into.extend(piece)

    with running(read_all):
        yield


@contextmanager
def running(work: object) -> Iterator[None]:
    assert callable(work)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(timeout=60)
    assert not thread.is_alive()


def assert_no_thread_hangs(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(name):
            thread.join(timeout=10)
            assert not thread.is_alive()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Pushing


async def test_all_that_comes_through_a_fifo_is_pushed(
    client: Client, script: Script, fifo: Path, data: bytes
) -> None:
    """Its size says 0, and is not believed."""
    with written(fifo, data):
        blob = await client.push(fifo)
    assert (blob.digest, blob.size_bytes) == (sha256(data), len(data))
    assert script.blobs[str(blob.digest)] == data


@pytest.mark.parametrize("named", [False, True], ids=["descriptor", "path"])
async def test_all_that_comes_through_a_pipe_is_pushed(
    client: Client, script: Script, data: bytes, *, named: bool
) -> None:
    """As the shell's `<(command)` gives it; the caller's descriptor stays open."""
    reading, writing = os.pipe()
    with written(writing, data):
        blob = await client.push(f"/dev/fd/{reading}" if named else reading)
    os.close(reading)
    assert script.blobs[str(blob.digest)] == data


async def test_all_that_comes_through_a_socket_is_pushed(
    client: Client, script: Script, data: bytes
) -> None:
    """Some programs' children have a socket as /dev/stdin, which cannot be opened by its path."""
    ours, theirs = socket.socketpair()
    with ours, written(theirs.detach(), data):
        blob = await client.push(f"/dev/fd/{ours.fileno()}")
    assert script.blobs[str(blob.digest)] == data


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/status"])
async def test_devices_and_files_of_the_kernel_give_what_reading_gives(
    client: Client, script: Script, path: str
) -> None:
    """Of both the size is told as 0; only one is empty."""
    blob = await client.push(path)
    assert (blob.size_bytes == 0) == (path == "/dev/null")
    assert len(script.blobs[str(blob.digest)]) == blob.size_bytes


async def test_a_descriptor_is_read_from_where_it_stands(
    client: Client, script: Script, tmp_path: Path, data: bytes
) -> None:
    """As `blobd push - < file` in a script whose first line read some of it already."""
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.seek(MIB)
        blob = await client.push(file.fileno())
    assert script.blobs[str(blob.digest)] == data[MIB:]


async def test_a_link_is_followed_and_a_folder_refused(
    client: Client, script: Script, tmp_path: Path, data: bytes
) -> None:
    """A folder is no error of the server's, and none is asked."""
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "link").symlink_to("file")
    blob = await client.push(tmp_path / "link")
    assert script.blobs[str(blob.digest)] == data
    script.asked.clear()
    with pytest.raises(IsADirectoryError) as caught:
        await client.push(tmp_path)
    assert caught.value.filename == str(tmp_path)
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(FileNotFoundError):
        await client.push(tmp_path / "dangling")
    assert script.asked == []


async def test_a_break_of_a_stream_goes_on_within_the_chunk_that_is_kept(
    client: Client, script: Script, fifo: Path, data: bytes
) -> None:
    """Nothing is sent twice, and what was let go of is not needed again."""
    script.faults.append(Fault("PATCH", drop_after_bytes=700_001))
    script.faults.append(Fault("PATCH", drop_after_bytes=0))
    with written(fifo, data):
        blob = await client.push(fifo, chunk_bytes=MIB)
    assert script.blobs[str(blob.digest)] == data
    assert script.received_bytes() == len(data)


async def test_a_lost_session_is_begun_anew_while_all_of_the_stream_is_kept(
    client: Client, script: Script, fifo: Path, data: bytes
) -> None:
    """A server that forgot the first chunk is given it again."""
    script.faults.append(Fault("PATCH", drop_after_bytes=10))
    script.faults.append(Fault("GET", forget_upload=True))
    with written(fifo, data):
        blob = await client.push(fifo, chunk_bytes=MIB)
    assert script.blobs[str(blob.digest)] == data


async def test_a_lost_session_ends_a_stream_that_was_let_go_of(
    client: Client, script: Script, fifo: Path, data: bytes
) -> None:
    """The error says that the stream is at fault, and offers no upload to go on with."""
    script.faults.append(Fault("PATCH"))
    script.faults.append(Fault("PATCH", drop_after_bytes=10))
    script.faults.append(Fault("GET", forget_upload=True))
    with (
        written(fifo, data),
        pytest.raises(SourceSpent, match="a stream cannot be read again") as caught,
    ):
        await client.push(fifo, chunk_bytes=MIB)
    assert caught.value.upload_id is None


async def test_waiting_for_a_writer_can_be_cancelled(client: Client, fifo: Path) -> None:
    """No thread hangs in `open` or `read`, where it would keep the process from ending."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.push(fifo)
    assert_no_thread_hangs("blobd-push")


@pytest.mark.parametrize("size_bytes", [0, 20_000, 2 * MIB])
async def test_a_file_that_grows_is_refused(
    client: Client, script: Script, tmp_path: Path, size_bytes: int
) -> None:
    """A log that is still written to: neither its old bytes nor its new ones are meant."""
    file = tmp_path / "log"
    file.write_bytes(b"x" * size_bytes)
    script.faults.append(Fault("POST", answer=(503, {}, b"")))

    async def grow() -> None:
        while not script.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        os.truncate(file, size_bytes + 4)

    told = f"had {size_bytes} bytes.*{size_bytes + 4} now"
    async with asyncio.TaskGroup() as group:
        group.create_task(grow())
        with pytest.raises(SourceChanged, match=told) as caught:
            await client.push(file)
    assert script.blobs == {}
    assert caught.value.upload_id is None


async def test_a_file_that_is_overwritten_is_refused(
    client: Client, script: Script, tmp_path: Path, data: bytes
) -> None:
    """The size is the same, and most of the bytes are not."""
    file = tmp_path / "image"
    file.write_bytes(data)

    def overwrite(progress: Progress) -> None:
        if progress.done_bytes == 0:
            os.truncate(file, MIB)
            os.truncate(file, len(data))

    with pytest.raises(SourceChanged, match="was written to"):
        await client.push(file, progress=overwrite)
    assert script.blobs == {}


# Pulling


async def test_a_fifo_gets_the_bytes_in_order_and_stays(
    client: Client, script: Script, fifo: Path, digest: Digest, data: bytes
) -> None:
    """Also over a broken connection."""
    script.faults.append(Fault("GET", drop_after_bytes=MIB + 7))
    got = bytearray()
    with read(fifo, got):
        await client.pull(digest, fifo)
    assert got == data
    assert names_in(fifo.parent) == ["fifo"]
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)  # noqa: PTH116


@pytest.mark.parametrize("named", [False, True], ids=["descriptor", "path"])
async def test_a_pipe_gets_the_bytes_in_order(
    client: Client, digest: Digest, data: bytes, *, named: bool
) -> None:
    """As the shell's `>(command)` gives it; the caller closes it."""
    reading, writing = os.pipe()
    got = bytearray()
    with read(reading, got):
        await client.pull(digest, f"/dev/fd/{writing}" if named else writing)
        os.close(writing)
    assert got == data


async def test_a_descriptor_is_written_to_from_where_it_stands(
    client: Client, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """As `(echo head; blobd pull … -o /dev/stdout; echo tail) > file`: nothing is overwritten."""
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"head")
        await client.pull(digest, f"/dev/fd/{file.fileno()}")
        file.write(b"tail")
    assert (tmp_path / "file").read_bytes() == b"head" + data + b"tail"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("through_link", [False, True])
async def test_a_device_stays_a_device(
    client: Client, tmp_path: Path, digest: Digest, *, through_link: bool
) -> None:
    """Root would otherwise have replaced /dev/null for everybody."""
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    blob = await client.pull(digest, link if through_link else "/dev/null")
    assert blob.size_bytes == 5 * MIB + 123
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)
    assert link.is_symlink()
    assert not [name for name in names_in(Path("/dev")) if name.endswith(".part")]


async def test_a_full_device_is_an_error(client: Client, digest: Digest) -> None:
    """What cannot be written is not taken for written."""
    with pytest.raises(OSError, match="No space left") as caught:
        await client.pull(digest, "/dev/full")
    assert caught.value.errno == errno.ENOSPC


async def test_wrong_bytes_in_order_are_told_at_the_end(
    client: Client, script: Script, fifo: Path, digest: Digest, data: bytes
) -> None:
    """They were written, and cannot be taken back; the error says what they are."""
    script.blobs[str(digest)] = data[::-1]
    got = bytearray()
    with read(fifo, got), pytest.raises(DigestWrong):
        await client.pull(digest, fifo)


@pytest.mark.parametrize("dangling", [False, True])
async def test_a_link_stays_and_what_it_points_to_is_replaced(
    client: Client, tmp_path: Path, digest: Digest, data: bytes, *, dangling: bool
) -> None:
    """Links to links too; what a dangling one points to is made."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(folder / "copy")
    if not dangling:
        (folder / "copy").write_bytes(b"old")
    await client.pull(digest, tmp_path / "one")
    assert (folder / "copy").read_bytes() == data
    assert names_in(folder) == ["copy"]
    assert names_in(tmp_path) == ["elsewhere", "one", "two"]
    assert os.readlink(tmp_path / "one") == "two"  # noqa: PTH115


async def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(
    client: Client, tmp_path: Path, digest: Digest
) -> None:
    """What was private does not become readable by being replaced."""
    (tmp_path / "private").touch(mode=0o600)
    await client.pull(digest, tmp_path / "private")
    before = os.umask(0o027)
    try:
        await client.pull(digest, tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


async def test_a_long_name_is_no_obstacle(
    client: Client, tmp_path: Path, digest: Digest, data: bytes
) -> None:
    """The hidden file's name is longer than the target's, and must not be too long."""
    await client.pull(digest, tmp_path / ("ä" * 127))
    assert (tmp_path / ("ä" * 127)).read_bytes() == data


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/new/", "{}/link", "{}/loop", "{}/a/b"])
async def test_what_cannot_be_a_file_is_refused_before_a_byte_is_fetched(
    client: Client, script: Script, tmp_path: Path, digest: Digest, form: str
) -> None:
    """A folder, a link to one, a name that says folder, a link to itself, no such folder."""
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "loop").symlink_to("loop")
    before = names_in(tmp_path)
    with pytest.raises(OSError, match=r"directory|Too many levels") as caught:
        await client.pull(digest, form.format(tmp_path))
    assert caught.value.filename.startswith(str(tmp_path))
    assert "GET" not in script.methods()
    assert names_in(tmp_path) == before


async def test_a_place_that_cannot_be_written_to_is_refused_before_a_byte_is_fetched(
    client: Client, script: Script, digest: Digest
) -> None:
    """Nobody, root included, makes files in /sys; the error names the place, not a hidden file."""
    with pytest.raises(OSError, match=r"Permission|Read-only|not permitted") as caught:
        await client.pull(digest, "/sys/blobd-test")
    assert caught.value.filename == "/sys/blobd-test"
    assert "GET" not in script.methods()


async def test_waiting_for_a_reader_can_be_cancelled(
    client: Client, fifo: Path, digest: Digest
) -> None:
    """Before somebody opens the FIFO, and while he reads nothing."""
    for opened in (False, True):
        fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) if opened else -1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.pull(digest, fifo)
        if opened:
            os.close(fd)
    assert_no_thread_hangs("blobd-pull")


async def test_an_unknown_blob_does_not_wait_for_a_reader(client: Client, fifo: Path) -> None:
    """The FIFO is not even opened."""
    with pytest.raises(Refused):
        await client.pull(Digest("sha256", "0" * 64), fifo)
