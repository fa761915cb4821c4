"""`blobd push` and `blobd pull` against a real daemon."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.cli.processes import run_blobd, running
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Daemon(tmp_path_factory.mktemp("push") / "data") as daemon:
        yield daemon.blob_api_url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.write_bytes(os.urandom(8 * MIB + 1))
    return path


def digest_of(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def test_what_was_pushed_is_pulled(server: str, file: Path, tmp_path: Path) -> None:
    """Promise 1, by hand: the digest is all that is printed, and it brings the bytes back."""
    pushed = run_blobd("push", file, "--server", server)
    assert pushed.stdout.decode() == f"{digest_of(file)}\n", pushed.stderr.decode()
    copy = tmp_path / "copy"
    pulled = run_blobd("pull", digest_of(file), "-o", copy, BLOBD_SERVER=server)
    assert pulled.stdout.decode() == f"{copy}\n", pulled.stderr.decode()
    assert copy.read_bytes() == file.read_bytes()


def test_pipes_work_both_ways(server: str, file: Path) -> None:
    """`-` is standard input and standard output."""
    pushed = run_blobd("push", "-", "--server", server, "--json", input_bytes=file.read_bytes())
    told = json.loads(pushed.stdout)
    assert told == {"digest": digest_of(file), "size_bytes": 8 * MIB + 1}
    pulled = run_blobd("pull", told["digest"], "-o", "-", "--server", server)
    assert pulled.stdout == file.read_bytes()


@pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
def test_other_algorithms_name_the_same_bytes(
    server: str, file: Path, tmp_path: Path, algorithm: str
) -> None:
    """All algorithms of the image-spec go both ways."""
    pushed = run_blobd("push", file, "--server", server, "--algorithm", algorithm)
    digest = pushed.stdout.decode().strip()
    assert digest.startswith(f"{algorithm}:"), pushed.stderr.decode()
    run_blobd("pull", digest, "-o", tmp_path / "copy", "--server", server)
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()


def test_wrong_bytes_are_refused_in_one_line(server: str, file: Path) -> None:
    """`--digest` is a promise the server checks; exit code 1."""
    run = run_blobd("push", file, "--server", server, "--digest", f"sha256:{'0' * 64}")
    assert run.returncode == 1
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("blobd: ")
    assert "DIGEST_INVALID" in line


def test_an_unknown_blob_leaves_nothing_behind(server: str, tmp_path: Path) -> None:
    """Exit code 1, and no file."""
    run = run_blobd("pull", f"sha256:{'0' * 64}", "-o", tmp_path / "copy", "--server", server)
    assert run.returncode == 1
    assert b"BLOB_UNKNOWN" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_one_line(server: str, tmp_path: Path) -> None:
    """No trace of Python."""
    run = run_blobd("push", tmp_path / "nothing", "--server", server)
    assert run.returncode == 1
    (line,) = run.stderr.decode().splitlines()
    assert line == f"blobd: {tmp_path / 'nothing'}: No such file or directory"


def test_an_interrupted_push_tells_how_to_go_on(server: str, file: Path) -> None:
    """Promise 5, by hand: after Ctrl-C the printed line sends only what is missing."""
    with _slow_road(server, pass_bytes=3 * MIB) as (road, reached):
        with running("push", file, "--server", road) as process:
            assert reached.wait(timeout=60)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        assert process.returncode == 1
    match = re.search(r"to go on: blobd push (\S+) --upload ([0-9a-f]{32})", told.decode())
    assert match is not None, told.decode()
    assert match[1] == str(file)
    pushed = run_blobd("push", file, "--upload", match[2], "--server", server)
    assert pushed.stdout.decode() == f"{digest_of(file)}\n", pushed.stderr.decode()


@contextmanager
def _slow_road(server: str, *, pass_bytes: int) -> Iterator[tuple[str, threading.Event]]:
    """Forward one client's connections to the server; after so many bytes, pass nothing on."""
    url = urlsplit(server)
    reached = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def forward(source: socket.socket, target: socket.socket, *, limited: bool) -> None:
        passed_bytes = 0
        with source, target, suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
                passed_bytes += len(piece)
                if limited and passed_bytes >= pass_bytes:
                    reached.set()
                    closing.wait()
                    return
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection((url.hostname, url.port))
            for source, target, limited in (
                (client, upstream, True),
                (upstream.dup(), client.dup(), False),
            ):
                threading.Thread(
                    target=forward, args=(source, target), kwargs={"limited": limited}
                ).start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", reached
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
