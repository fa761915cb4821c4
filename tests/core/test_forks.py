"""Processes forked from another: what they inherit, how they end, what comes back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from blobd.digest import Digest
from blobd.errors import BlobdError, BlobNotFound, ConfigInvalid
from blobd.forks import answer_of, spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SOON_S = 20


def ended(pid: int) -> int:
    """Return a child's exit code, or minus the signal that ended it."""
    give_up_at = time.monotonic() + _SOON_S
    while time.monotonic() < give_up_at:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("it did not end")


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_an_answer_comes_back() -> None:
    assert answer_of(lambda: ("a", [1, None]), name="test") == ("a", [1, None])
    assert answer_of(os.getpid, name="test") != os.getpid()


@pytest.mark.parametrize(
    "error",
    [
        ConfigInvalid("store.path = 'x': must be a folder"),
        FileNotFoundError(2, "No such file or directory", "/nothing"),
        BlobNotFound(Digest.parse("sha256:" + "0" * 64)),
    ],
)
def test_what_an_operator_can_mend_is_raised_again(error: Exception) -> None:
    """With the line that names it, even where the error's own facts cannot travel."""
    with pytest.raises((BlobdError, OSError), match=re.escape(str(error))) as raised:
        answer_of(raising(error), name="test")
    assert isinstance(error, type(raised.value))


@pytest.mark.parametrize(
    "work",
    [raising(ZeroDivisionError()), lambda: os.kill(os.getpid(), 9)],
    ids=["a fault", "a kill"],
)
def test_what_nobody_can_mend_ends_the_program(work: Callable[[], None]) -> None:
    with pytest.raises(SystemExit) as raised:
        answer_of(work, name="test")
    assert raised.value.code == 1


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda: None, 0),
        (raising(ConfigInvalid("no")), 1),
        (raising(ZeroDivisionError()), 1),
        (raising(SystemExit(0)), 1),
    ],
    ids=["returns", "wrong setting", "fault", "exit"],
)
def test_nothing_of_the_parent_runs_in_the_child(work: Callable[[], None], code: int) -> None:
    """Neither a `finally` above in the stack, nor what waits for the exit."""
    reading, writing = os.pipe()
    me = os.getpid()
    try:
        pid = spawn(work, name="test")
    finally:
        if os.getpid() != me:
            os.write(writing, b"the parent's code ran")
    assert ended(pid) == code
    os.close(writing)
    assert os.read(reading, 100) == b""
    os.close(reading)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_a_child_of_a_parent_that_blocks_them(number: signal.Signals) -> None:
    """They end it, whatever handlers its parent has."""
    before = signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        pid = spawn(lambda: time.sleep(_SOON_S), name="test")
        os.kill(pid, number)
        assert ended(pid) == -number
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        signal.signal(number, before)


_PARENT = """
import os, sys, time
from blobd.forks import spawn

fork, parent = os.fork, os.getpid()

def slow_fork():
    pid = fork()
    while not pid and os.getppid() == parent:
        time.sleep(0.01)
    return pid

if sys.argv[2] == "before":
    os.fork = slow_fork

def work():
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(60)

pid = spawn(work, name="test")
print(pid, flush=True)
while sys.argv[2] == "after" and not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):
    time.sleep(0.01)
os._exit(0)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_child_ends_with_its_parent(tmp_path: Path, when: str) -> None:
    """Even where the parent has ended before the child could ask to end with it."""
    begun = tmp_path / "begun"
    run = subprocess.run(
        [sys.executable, "-c", _PARENT, begun, when], capture_output=True, text=True, check=True
    )
    child = f"/proc/{int(run.stdout)}"
    give_up_at = time.monotonic() + _SOON_S
    while os.path.exists(child):  # noqa: PTH110
        assert time.monotonic() < give_up_at, "it goes on without its parent"
        time.sleep(0.01)
    assert begun.exists() == (when == "after")


def test_a_child_has_a_name_of_its_own() -> None:
    def name() -> str:
        with open("/proc/self/comm", encoding="ascii") as file:  # noqa: PTH123
            return file.read()

    assert answer_of(name, name="blobd-7") == "blobd-7\n"
