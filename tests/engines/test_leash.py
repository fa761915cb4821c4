"""No engine outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.leash import below
from tests.engines.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

_SOON_S = 20
_DAEMON = "setsid sleep 1000 & setsid sleep 1000 & exec sleep 1000"
"""A program with two descendants in sessions of their own, as daemons are."""
_STARTS_AN_ENGINE = f"""
import sys
from pathlib import Path
from tests.engines.process import Process
Process("sleepy", ["sh", "-c", {_DAEMON!r}], log=Path(sys.argv[1])).start()
print("started", flush=True)
sys.stdin.read()
"""


def test_everything_ends_with_a_test_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 of the test's process ends the engine, daemons that it has started included."""
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTS_AN_ENGINE, tmp_path / "log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        _until(lambda: len(list(below(starter.pid))) == 4)  # the leash, and three that sleep
        started = list(below(starter.pid))
        starter.send_signal(signal.SIGKILL)
        _until(lambda: not any(map(_lives, started)))


def test_a_kill_takes_all_and_a_signal_asks_the_program(tmp_path: Path) -> None:
    """`kill` and `stop` both leave nothing, and a program can be started again after either."""
    process = Process("sleepy", ["sh", "-c", _DAEMON], log=tmp_path / "log")
    before = set(below(os.getpid()))
    for end in (process.kill, process.stop):
        process.start()
        _until(lambda: len({*below(os.getpid())} - before) == 4)
        started = {*below(os.getpid())} - before
        end()
        assert not any(map(_lives, started))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
