"""The command line as a person runs it: in a process of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

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


def _command(arguments: tuple[str | Path, ...]) -> list[str]:
    return [sys.executable, "-m", "blobd", *map(str, arguments)]


def _environment(added: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BLOBD_")}
    return {**clean, **added}
