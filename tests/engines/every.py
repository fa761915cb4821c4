"""Every engine by name: parameters of the `engine` fixture, and whether it is installed here."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.daemon import which
from tests.engines import ceph, postgres, seaweedfs, swift
from tests.engines.ceph import Ceph
from tests.engines.moto import Moto
from tests.engines.seaweedfs import SeaweedFS
from tests.engines.swift import Swift

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.s3 import S3Engine

needs_postgres = pytest.mark.needs("postgres")
needs_pgbouncer = pytest.mark.needs("postgres", "pgbouncer")

MOTO = pytest.param(Moto, id="moto")
SWIFT = pytest.param(Swift, marks=pytest.mark.needs("swift"), id="swift")
CEPH = pytest.param(Ceph, marks=pytest.mark.needs("ceph"), id="ceph")

SEAWEEDFS = pytest.param(SeaweedFS, marks=pytest.mark.needs("seaweedfs"), id="seaweedfs")

EVERY = (MOTO, SWIFT, SEAWEEDFS, CEPH)
"""As they ship."""
DURABLE = (SWIFT, SEAWEEDFS, CEPH)
"""Those that outlive kill -9."""
OF_SMALL_PARTS = tuple(
    pytest.param(partial(engine, least_part_bytes=1), marks=marks, id=engine.name)
    for engine, marks in (
        (Moto, ()),
        (Swift, pytest.mark.needs("swift")),
        (Ceph, pytest.mark.needs("ceph")),
    )
)
"""With one setting changed, so that uploads of many parts are small: SeaweedFS has no such."""


def _is_swift_here() -> bool:
    return all(map(which, swift.PROGRAMS)) and Path("/etc/swift/swift.conf").exists()


def _is_wanted(program: str) -> bool:
    """Whether somebody asked for it: what takes minutes more is not run because it is there."""
    return program in os.environ.get("BLOBD_TEST_REQUIRE", "").split(",")


INSTALLED: dict[str, Callable[[], bool]] = {
    "swift": _is_swift_here,
    "seaweedfs": lambda: seaweedfs.program() is not None,
    "ceph": lambda: _is_wanted("ceph") and all(map(which, ceph.PROGRAMS)),
    "postgres": lambda: postgres.programs() is not None,
}


class Engines:
    """Starts each engine when it is first asked for, and ends them all."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[Callable[[], S3Engine], S3Engine] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, kind: Callable[[], S3Engine]) -> S3Engine:
        """Return the running engine of a kind."""
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(kind())
        return self._running[kind]
