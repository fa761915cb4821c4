"""A file system with no room left: uploads are told, reads and what fits go on."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.api.served import Served, digest_of, some_bytes, until
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.talk import Answer

pytestmark = pytest.mark.needs("root", "mount")

DISK_BYTES = 32 * 1024 * 1024
BLOB_BYTES = 20 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "blobd-test", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def served(disk: Path) -> Iterator[Served]:
    settings = {"limits.min_free_bytes": "0", "server.workers": "1"}
    with Daemon(disk / "data", settings=settings) as daemon:
        yield Served(daemon)


def is_full(answer: Answer) -> bool:
    """Whether it is the 507 of which docker shows the reason phrase and nothing else."""
    return (answer.status, answer.reason, answer.code) == (
        507,
        "Insufficient Storage: no space left on device",
        "DENIED",
    )


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_full_disk_is_507_and_others_go_on(served: Served, method: str) -> None:
    """Design section 7: other uploads and all reads go on, and the space comes back."""
    kept = some_bytes(BLOB_BYTES)
    blob = served.store(kept)
    data = some_bytes(BLOB_BYTES)
    small = some_bytes(10_000)
    upload, other = served.start(), served.start()
    target = {
        "POST": f"/uploads?digest={digest_of(data)}",
        "PATCH": upload,
        "PUT": f"{upload}?digest={digest_of(data)}",
    }[method]
    with served.talk(receive_bytes=16 * 1024) as reader, served.talk() as writer:
        reader.head("GET", blob)
        assert reader.answer_head().status == 200
        writer.invited("PATCH", other, {"Transfer-Encoding": "chunked"})
        writer.chunk(small[:5_000])
        staged = served.daemon.data / other.lstrip("/") / "bytes"
        give_up_at = time.monotonic() + 20
        while not (staged.exists() and staged.stat().st_size == 5_000):
            assert time.monotonic() < give_up_at, "the other upload was not written"
            time.sleep(0.02)
        with served.talk() as talk:
            # In chunks: an announced length would be refused before a byte is written.
            talk.head(method, target, {"Transfer-Encoding": "chunked"})
            talk.send(b"%x\r\n" % (2 * BLOB_BYTES))
            with talk.pouring(2 * BLOB_BYTES):
                answer = talk.answer()
        assert is_full(answer)
        assert reader.read(BLOB_BYTES) == kept
        writer.chunk(small[5_000:])
        writer.send(b"0\r\n\r\n")
        assert writer.answer().status == 202
    assert served.offset(upload) == 0
    assert served.ask("PUT", f"{other}?digest={digest_of(small)}").status == 201
    assert served.holds(small)
    assert served.holds(kept)
    assert not served.holds(data)
    until(served.is_at_rest, "the daemon is at rest")
    fits = some_bytes(1_000_000)
    served.store(fits)
    assert served.holds(fits)


def test_a_length_that_cannot_fit_is_refused_before_it_is_sent(served: Served) -> None:
    """Promise 8, for the disk: 507 at once, the upload unchanged."""
    upload = served.start()
    for method, target in (
        ("POST", f"/uploads?size={2 * DISK_BYTES}"),
        ("PATCH", upload),
        ("PUT", f"{upload}?digest={digest_of(b'')}"),
    ):
        with served.talk() as talk:
            talk.head(method, target, {"Content-Length": 2 * DISK_BYTES, "Expect": "100-continue"})
            assert is_full(talk.answer())
    assert served.offset(upload) == 0


def test_a_disk_without_any_room_is_507_for_whatever_writes(served: Served, disk: Path) -> None:
    """Design section 7: reads go on; health says so; nothing is half-stored."""
    data = some_bytes(1_000_000)
    blob = served.store(data)
    upload = served.start()
    assert served.ask("PATCH", upload, body=data[:1000]).status == 202
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            assert os.statvfs(disk).f_bavail == 0
    assert is_full(served.ask("POST", "/uploads"))
    assert is_full(served.ask("PATCH", upload, body=data[1000:]))
    assert is_full(served.ask("PUT", f"{upload}?digest={digest_of(data)}", body=data[1000:]))
    assert is_full(served.ask("GET", "/readyz?for=writes"))
    _says_that_only_reads_go_on(served)
    assert served.ask("GET", "/healthz").status == 200
    assert served.ask("GET", blob).body == data
    assert served.offset(upload) == 1000
    full = served.ask("PUT", f"{upload}?digest={digest_of(data[:1000])}")
    assert is_full(full) or full.status in {201, 503}
    filler.unlink()
    if full.status != 201:
        assert served.ask("PUT", f"{upload}?digest={digest_of(data[:1000])}").status == 201
    assert served.holds(data[:1000])
    until(served.is_at_rest, "the daemon is at rest")


def test_a_file_system_that_fails_is_503(served: Served) -> None:
    """Design section 7: backend trouble that passes, with Retry-After; reads go on."""
    data = some_bytes(100_000)
    blob = served.store(data)
    upload = served.start()
    uploads = str(served.daemon.data / "uploads")
    subprocess.run(["mount", "--bind", uploads, uploads], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", uploads], check=True)
        refused = [
            served.ask("POST", "/uploads"),
            served.ask("PATCH", upload, body=data),
            served.ask("PUT", f"{upload}?digest={digest_of(data)}", body=data),
        ]
        assert served.ask("GET", blob).body == data
        assert served.offset(upload) == 0
    finally:
        subprocess.run(["umount", uploads], check=True)
    for answer in refused:
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}", body=data).status == 201
    assert served.holds(data)


def test_room_that_the_operator_keeps_is_kept(disk: Path) -> None:
    """`limits.min_free_bytes`: new uploads are refused while reads go on."""
    settings = {"limits.min_free_bytes": str(16 * 1024 * 1024), "server.workers": "1"}
    with Daemon(disk / "data", settings=settings) as daemon:
        served = Served(daemon)
        data = some_bytes(1_000_000)
        blob = served.store(data)
        (disk / "filler").write_bytes(bytes(20 * 1024 * 1024))
        with served.talk() as talk:
            answer = talk.ask("POST", "/uploads")
            while answer.status != 507:  # how much is free is looked at once a second
                answer = talk.ask("POST", "/uploads")
        assert is_full(answer)
        assert served.ask("GET", blob).body == data
        assert is_full(served.ask("GET", "/readyz?for=writes"))
        _says_that_only_reads_go_on(served)
        until(lambda: daemon.metric("blobd_storage_full") == 1, "the metric says that it is full")
        (disk / "filler").unlink()
        until(lambda: served.ask("GET", "/readyz?for=writes").status == 200, "there is room again")
        assert json.loads(served.ask("GET", "/readyz").body) == {"reads": True, "writes": True}
        until(lambda: daemon.metric("blobd_storage_full") == 0, "the metric says that it is not")
        assert served.ask("POST", "/uploads").status == 202
    assert daemon.stderr.count("the store is full") == 1
    assert daemon.stderr.count("the store has room again") == 1


def _says_that_only_reads_go_on(served: Served) -> None:
    """A load balancer must go on sending reads here; whoever asks is told what does not work."""
    answer = served.ask("GET", "/readyz")
    state = json.loads(answer.body)
    assert (answer.status, state["reads"], state["writes"]) == (200, True, False)
    assert "507" in state["reason"]
    assert served.ask("HEAD", "/readyz").status == 200
