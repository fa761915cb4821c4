"""A writer that is killed with -9 just before its n-th change to the file system.

`python -m tests.backends.dying_process ROOT N` says what it has done, a line each as soon as the
backend has answered. Python's audit events tell of every file opened, renamed, removed, cut; the
bytes written between two of them are there or not, as the kernel has it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from blobd.backends.filesystem.backend import Filesystem
from tests.backends.acts import digest_of, off_loop, store

PIECES = (b"first piece, ", b"second piece, ", b"third piece")
WHOLE = b"".join(PIECES)
OLD = b"stored before"
SAVED, COMMITTED, ABORTED, UNDONE = "1" * 32, "2" * 32, "3" * 32, "4" * 32

_CHANGES = frozenset(
    ["open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"]
)


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


async def live(backend: Filesystem) -> None:
    """What the writer does while it lives. `test_crash.py` checks it step by step."""
    await backend.begin(SAVED, b"0")
    say("begun")
    staging = await backend.stage(SAVED)
    for number, piece in enumerate(PIECES[:2], 1):
        await staging.append([piece])
        await staging.checkpoint(b"%d" % number)
        say(f"saved {number}")
    await staging.append([PIECES[2]])
    await staging.commit(digest_of(WHOLE))
    say("committed")
    await staging.aclose()

    await backend.begin(COMMITTED, b"again")
    staging = await backend.stage(COMMITTED)
    await staging.append(PIECES)
    await staging.commit(digest_of(WHOLE))
    say("committed again")
    await staging.aclose()

    await backend.begin(ABORTED, b"0")
    staging = await backend.stage(ABORTED)
    await staging.append([PIECES[0]])
    await staging.checkpoint(b"1")
    say("to be aborted")
    await staging.abort()
    say("aborted")
    await staging.aclose()

    await backend.begin(UNDONE, b"0")
    staging = await backend.stage(UNDONE)
    await staging.append([PIECES[0]])
    await staging.checkpoint(b"1")
    await staging.aclose()
    staging = await backend.stage(UNDONE, provisional=True)
    say("to be undone")
    for piece in PIECES[1:]:
        await staging.append([piece])
        await backend.peek(UNDONE)  # opens the record: a step to be killed at
    await staging.aclose()
    staging = await backend.stage(UNDONE)
    await staging.abort()
    await staging.aclose()
    say("undone")

    await backend.delete(digest_of(OLD))
    say("deleted")
    await backend.forget(COMMITTED)
    say("forgotten")


async def main(root: Path, die_at: int) -> None:
    backend = await off_loop(Filesystem, root, durable=True)
    await store(backend, OLD)
    changes = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes
        if event in _CHANGES and _within(root, arguments[0]):
            changes += 1
            if changes == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    await live(backend)
    say("lived")
    await backend.aclose()


def _within(root: Path, place: object) -> bool:
    return isinstance(place, int) or str(place).startswith(str(root))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
