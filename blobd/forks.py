"""Processes that are forked from this one, end with it, and never run its code by mistake.

Fork from a process without other threads and without an event loop: the child would get only half
of them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from blobd.errors import BlobdError, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

_log = logging.getLogger("blobd")


def spawn(work: Callable[[], object], *, name: str) -> int:
    """Run `work` in a forked process; return its pid.

    It ends when `work` returns (code 0) or raises (1, logged), and is killed when this process
    ends. SIGTERM, SIGINT and SIGCHLD are as in a new process, even if they are blocked here.
    `name`, of at most 15 bytes, is what `ps -o comm` and `top` show.
    """
    sys.stdout.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _begin(parent, name)
        work()
        code = 0
    except BlobdError as error:
        _log.error("%s: %s", name, error)
    except BaseException:  # noqa: BLE001 nothing above may run
        _log.exception("%s failed", name)
    finally:
        os._exit(code)  # whatever waits to be run above in the stack is the parent's


def answer_of(work: Callable[[], T], *, name: str) -> T:
    """Run `work` in a forked process, and return what it returns.

    Raises its ConfigInvalid, BlobdError or OSError; for anything else, which the process has
    logged, SystemExit.
    """
    reading, writing = os.pipe()

    def run() -> None:
        os.close(reading)
        answer: tuple[Any, Exception | None]
        try:
            answer = work(), None
        except ConfigInvalid as error:
            answer = None, ConfigInvalid(str(error))
        except BlobdError as error:  # its facts stay behind, the line is what matters
            answer = None, BlobdError(str(error))
        except OSError as error:
            answer = None, error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)

    pid = spawn(run, name=name)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        pickled = pipe.read()
    os.waitpid(pid, 0)
    if not pickled:
        raise SystemExit(1)
    result, error = pickle.loads(pickled)  # noqa: S301 from this program's own process
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _begin(parent: int, name: str) -> None:
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_NAME, name.encode())
    if prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before its end could be watched
        os._exit(1)
