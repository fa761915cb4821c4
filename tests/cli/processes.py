"""The command line as a person runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE_S = 60


def run_blobd(
    *arguments: str | Path, input_bytes: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `blobd` to its end, with no settings in the environment but these."""
    return subprocess.run(
        _command(arguments),
        input=input_bytes,
        capture_output=True,
        env=_environment(environment),
        timeout=_PATIENCE_S,
        check=False,
    )


def bash(line: str, **variables: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which `blobd` is the command line under test."""
    blobd = f'blobd() {{ {shlex.quote(sys.executable)} -m blobd "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", blobd + line],
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env=_environment({name: str(value) for name, value in variables.items()}),
    )


@contextmanager
def running(*arguments: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `blobd` beside the block; kill it at the end if it is still there."""
    with subprocess.Popen(
        _command(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(environment),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Operator:
    """Runs commands beside a daemon."""

    def __init__(self, data: Path, **settings: str) -> None:
        """Settings are for every command, `section__name=value`, as in the environment."""
        self._data = data
        self._settings = {f"BLOBD_{name.upper()}": value for name, value in settings.items()}

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return run_blobd(*words, "--data", self._data, input_bytes=b"", **self._settings)

    def do(self, *words: str) -> str:
        run = self.run(*words)
        assert run.returncode == 0, run.stderr.decode()
        return run.stdout.decode()

    def json(self, *words: str) -> Any:
        return json.loads(self.do(*words, "--json"))

    def refused(self, *words: str) -> str:
        """Return the one line with which a command failed."""
        run = self.run(*words)
        assert run.returncode == 1, run.stderr.decode()
        (line,) = run.stderr.decode().splitlines()
        return line

    def misused(self, *words: str) -> str:
        """Return what a command says that was called wrongly."""
        run = self.run(*words)
        assert run.returncode == 2, run.stderr.decode()
        return run.stderr.decode()


def _command(arguments: tuple[str | Path, ...]) -> list[str]:
    return [sys.executable, "-m", "blobd", *map(str, arguments)]


def _environment(added: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BLOBD_")}
    return {**clean, **added}
