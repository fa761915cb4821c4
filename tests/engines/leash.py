"""Run a program that ends with whoever started it, and with it all that it has started.

`python -m tests.engines.leash PROGRAM...`: when standard input ends, every process below this one
is killed with -9, those that have made themselves daemons too; so a test that is itself killed
leaves nothing behind. SIGTERM and SIGINT are passed on; the exit code is the program's.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.01


def below(pid: int) -> Iterator[int]:
    """Find the processes that a process has started, and those that these have, and so on."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from below(int(child))


def signal_all_below(pid: int, number: int) -> None:
    """Send a signal to all processes below one."""
    for descendant in below(pid):
        with suppress(ProcessLookupError):
            os.kill(descendant, number)


def _main(command: list[str]) -> int:
    # Orphans become children of this process, instead of getting away.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: program.send_signal(number))
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    poll.register(os.pidfd_open(program.pid), select.POLLIN)
    poll.poll()
    code = program.poll()
    with suppress(ChildProcessError):  # there are none left, not even orphans
        while True:
            signal_all_below(os.getpid(), signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
            time.sleep(_POLL_S)
    return -signal.SIGKILL if code is None else code


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
