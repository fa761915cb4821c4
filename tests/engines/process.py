"""One process of an engine, or several that live and die together."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.leash import below, signal_all_below

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_START_WITHIN_S = 60
_STOP_WITHIN_S = 30
_POLL_S = 0.02
_ROOT = Path(__file__).parents[2]


class EngineFailed(Exception):
    """An engine did not start or stop as it should; the message holds what it said."""


class Process:
    """A program that ends with this one. What it says is in its log, from one start to the next."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._command = [str(word) for word in command]
        self._log = log
        self._environment = environment
        self._leash: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process above all of its own."""
        assert self._leash is not None, f"{self._name} is down"
        return self._leash.pid

    def start(self) -> None:
        """Start it; whether it is any good yet is for `wait` to find out."""
        assert self._leash is None, f"{self._name} runs already"
        with self._log.open("ab") as log:
            self._leash = subprocess.Popen(
                [sys.executable, "-m", "tests.engines.leash", *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=_ROOT,
                start_new_session=True,
            )

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait until it is ready. Raises EngineFailed when it ends, or takes a minute."""
        deadline = time.monotonic() + _START_WITHIN_S
        while not is_ready():
            assert self._leash is not None
            if (code := self._leash.poll()) is not None:
                self.kill()
                raise EngineFailed(f"{self._name} ended with {code}:\n{self.said()}")
            if time.monotonic() > deadline:
                raise EngineFailed(f"{self._name} is not ready:\n{self.said()}")
            time.sleep(_POLL_S)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal, and wait for its end. Raises EngineFailed when it goes on."""
        if self._leash is None:
            return
        self._leash.send_signal(number)
        try:
            self._leash.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise EngineFailed(f"{self._name} does not stop:\n{self.said()}") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill -9 all of its processes, as a power cut would."""
        if self._leash is not None:
            self._leash.communicate()
            self._leash = None

    def freeze(self) -> None:
        """Stop all of its processes where they are, as a machine that hangs; see `thaw`."""
        assert self._leash is not None
        signal_all_below(self._leash.pid, signal.SIGSTOP)
        while not all(map(_stands_still, below(self._leash.pid))):
            time.sleep(_POLL_S)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._leash is not None
        signal_all_below(self._leash.pid, signal.SIGCONT)

    def said(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""


def _stands_still(pid: int) -> bool:
    states = [
        (task / "stat").read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) == {"T"}
