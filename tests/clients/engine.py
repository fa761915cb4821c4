"""A client that is itself a server: started for one test, and stopped."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.clients.commands import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.commands import Home

_START_WITHIN_S = 60
_STOP_WITHIN_S = 60


@contextmanager
def running(
    home: Home, program: str, *arguments: str, answers: Callable[[], object]
) -> Iterator[None]:
    """Run a server until the end of the block, from when a command to it first succeeds."""
    with (
        (home.folder / "engine.log").open("w+") as log,
        subprocess.Popen(
            home.command(program, *arguments),
            env=home.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            _wait_until(answers, process)
            yield
        except CommandFailed as failure:
            log.seek(0)
            failure.add_note(f"{program} said at the end:\n{log.read()[-4000:]}")
            raise
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until(answers: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            answers()
        except CommandFailed:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # neither engine tells when it is ready
        else:
            return
