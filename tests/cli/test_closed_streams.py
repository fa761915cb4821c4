"""Commands begun with standard streams that are closed or full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import bash, run_blobd
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Daemon(tmp_path_factory.mktemp("streams") / "data") as daemon:
        yield daemon.blob_api_url


@pytest.mark.parametrize(
    "line",
    [
        "blobd push - <&-",
        'blobd push "$file" >&-',
        'blobd pull "$digest" -o - >&-',
        'blobd pull "$digest" -o "$copy" >&-',
        "blobd check-config >&-",
        "blobd --version >&-",
        'blobd push "$file" >/dev/full',
        "blobd --version >/dev/full",
        "blobd --help >/dev/full",
    ],
)
def test_a_stream_that_is_needed_and_closed_fails_in_one_line(
    server: str, tmp_path: Path, line: str
) -> None:
    """Not with a traceback, and never as if an empty input had been pushed."""
    file = tmp_path / "file"
    file.write_bytes(os.urandom(100_000))
    digest = run_blobd("push", file, "--server", server).stdout.decode().strip()
    run = bash(
        line,
        file=file,
        digest=digest,
        copy=tmp_path / "copy",
        BLOBD_SERVER=server,
    )
    assert (run.returncode, run.stdout) == (1, b"")
    assert len(run.stderr.decode().splitlines()) == 1, run.stderr.decode()
    assert run.stderr.startswith(b"blobd: ")


def test_streams_that_are_not_needed_may_be_closed(server: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(100_000))
    run = bash('blobd push "$file" <&- 2>&-', file=file, BLOBD_SERVER=server)
    assert (run.returncode, run.stdout[:7]) == (0, b"sha256:")


def test_no_socket_of_the_daemon_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Else log lines are sent to whoever is connected, or written into a database."""
    command = 'exec "$0" -m blobd serve --data "$1" --workers 2 --listen "$2" --blob-api "$3"'
    sockets = [f"unix:{tmp_path}/{name}" for name in ("registry", "api")]
    with subprocess.Popen(
        ["bash", "-c", f"{command} <&- 2>&-", sys.executable, str(tmp_path / "data"), *sockets],
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"blobd ")
            for number in (0, 2):
                link = Path(f"/proc/{process.pid}/fd/{number}")
                assert link.readlink() == Path(os.devnull)
        finally:
            process.terminate()
    assert process.returncode == 0
