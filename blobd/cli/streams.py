"""Standard streams that were closed when the process started, as by `blobd serve >&-`."""

from __future__ import annotations

import io
import os
import sys


def open_closed_streams() -> None:
    """Open descriptors 0 to 2 where they are closed.

    Otherwise the next socket or database gets the number of a standard stream, and what is printed
    goes into it. Reading a closed standard input or writing to a closed standard output still
    fails, with EBADF: both are opened for the wrong direction, as GNU's stdopen does, so that
    nothing passes for an empty input and no output is lost in silence. What is written to a closed
    standard error is dropped; there is nowhere left to report it.
    """
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        # Unbuffered: a buffer would be written once more at exit, and change the exit code.
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
