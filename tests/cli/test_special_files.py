"""`blobd push` and `blobd pull` with pipes, FIFOs, devices, links and read-only places."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import bash, run_blobd, running
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Daemon(tmp_path_factory.mktemp("special") / "data") as daemon:
        yield daemon.blob_api_url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    path.write_bytes(os.urandom(3 * MIB + 1))
    return path


@pytest.fixture
def pushed(server: str, file: Path) -> str:
    return run_blobd("push", file, "--server", server).stdout.decode().strip()


def digest_of(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    "line",
    [
        'blobd push <(cat "$file")',
        'cat "$file" | blobd push /dev/stdin',
        'blobd push /dev/stdin < "$file"',
        'mkfifo "$file.fifo"; cat "$file" > "$file.fifo" & blobd push "$file.fifo"',
        '(sleep 0.5; cat "$file") | blobd push -',
    ],
)
def test_every_way_to_hand_bytes_over_pushes_all_of_them(
    server: str, file: Path, line: str
) -> None:
    """None of these has a size that could be believed."""
    run = bash(line, file=file, BLOBD_SERVER=server)
    assert run.stdout.decode() == f"{digest_of(file)}\n", run.stderr.decode()
    assert run.returncode == 0


@pytest.mark.parametrize(
    "line",
    [
        'blobd pull "$digest" -o >(cat > "$copy"); wait $!',
        'blobd pull "$digest" -o /dev/stdout > "$copy"',
        'blobd pull "$digest" -o /dev/stdout | cat > "$copy"',
        'mkfifo "$copy.f"; cat "$copy.f" > "$copy" & blobd pull "$digest" -o "$copy.f"; wait',
        'ln -s copy "$copy.link"; blobd pull "$digest" -o "$copy.link"; test -L "$copy.link"',
    ],
)
def test_every_way_to_take_bytes_gets_all_of_them_and_nothing_else(
    server: str, file: Path, pushed: str, tmp_path: Path, line: str
) -> None:
    """The name of the file is not printed into the bytes."""
    copy = tmp_path / "copy"
    run = bash(line, digest=pushed, copy=copy, BLOBD_SERVER=server)
    assert run.returncode == 0, run.stderr.decode()
    assert digest_of(copy) == digest_of(file)
    assert list(tmp_path.glob(".*.part")) == []


def test_output_between_other_output_replaces_nothing(
    server: str, file: Path, pushed: str, tmp_path: Path
) -> None:
    """/dev/stdout of a redirected script is a regular file, and is not to be replaced."""
    line = '{ echo head; blobd pull "$digest" -o /dev/stdout; echo tail; } > "$copy"'
    bash(line, digest=pushed, copy=tmp_path / "copy", BLOBD_SERVER=server)
    assert (tmp_path / "copy").read_bytes() == b"head\n" + file.read_bytes() + b"tail\n"


def test_dev_null_stays(server: str, pushed: str) -> None:
    """Run as root this used to be the end of /dev/null."""
    run = run_blobd("pull", pushed, "-o", "/dev/null", "--json", "--server", server)
    assert json.loads(run.stdout)["file"] == "/dev/null", run.stderr.decode()
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


@pytest.mark.needs("setpriv")
def test_read_only_places_are_refused_in_one_line(server: str, pushed: str, tmp_path: Path) -> None:
    """A folder and a file that may not be written to; as root without its special powers."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    kept.chmod(0o444)
    drop = "setpriv --bounding-set=-dac_override" if os.geteuid() == 0 else ""
    for target in (folder / "copy", kept):
        line = f'{drop} {shlex.quote(sys.executable)} -m blobd pull "$digest" -o "$target"'
        run = bash(line, digest=pushed, target=target, BLOBD_SERVER=server)
        assert run.returncode == 1
        assert run.stderr.decode() == f"blobd: {target}: Permission denied\n"
    assert kept.read_bytes() == b"kept"
    assert list(folder.iterdir()) == []


def test_folders_are_refused_in_one_line(server: str, pushed: str, tmp_path: Path) -> None:
    """In both directions."""
    for command in (("push", tmp_path), ("pull", pushed, "-o", tmp_path)):
        run = run_blobd(*command, "--server", server)
        assert run.returncode == 1
        assert run.stderr.decode() == f"blobd: {tmp_path}: Is a directory\n"


def test_ctrl_c_ends_a_push_that_waits_for_its_pipe(server: str, tmp_path: Path) -> None:
    """No thread is left waiting for bytes that may never come."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # the FIFO opens when blobd reads from it
    with running("push", fifo, "--server", server) as process, fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"Traceback" not in told
