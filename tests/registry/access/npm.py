"""Packages of npm, installed for tests into a folder of their own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.daemon import which

if TYPE_CHECKING:
    from pathlib import Path

_WITHIN_S = 120


def install(package: str, place: Path) -> None:
    """Install a package at a version; skip the test where the registry cannot be reached."""
    npm = which("npm")
    assert npm is not None
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package]
    try:
        subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=_WITHIN_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install {package} here: {error}")
