"""What every test stands on: no blocking of the event loop, real programs or a plain sentence.

- Blocking calls made by blobd's own code on a running event loop fail the test.
- `@pytest.mark.needs("skopeo", …)` names real programs. Where one is missing the test is skipped
  and says so; a program named in BLOBD_TEST_REQUIRE (comma-separated) fails it instead.
- `@pytest.mark.long` tests take minutes and run with `--long`.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, BlockBusterFunction
from hypothesis import HealthCheck, settings

from tests import daemon as daemons
from tests.clients.partial_podman import may_mount_overlay
from tests.daemon import which
from tests.engines.every import INSTALLED, Engines
from tests.engines.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.s3 import Bucket, S3Engine

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of blobd.
settings.register_profile("blobd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("blobd")

pytest.register_assert_rewrite("tests.api.pieces", "tests.cancellation", "tests.images")

_MISSED_BY_BLOCKBUSTER = ("fsync", "fdatasync", "pread", "pwrite", "copy_file_range")
"""System calls that wait for a disk, beside those it watches by itself."""

_READER = "blobd/database/sqlite/reader.py"
_MAY_BLOCK = {
    "threading.Lock.acquire": {  # shutting down waits for a thread that is idle by then
        "blobd/backends/filesystem/takeover.py": "close",
        "blobd/threads.py": "close",
    },
    "sqlite3.Connection.execute": {_READER: "rows"},  # microseconds
    "sqlite3.Cursor.fetchall": {_READER: "rows"},
}
"""Where blocking is meant: call, file, function."""

_MAY_BLOCK_AT_ALL = {
    "postgresql/connections.py": "dial",  # looks for ~/.pgpass and certificates
    "postgresql/migrate.py": "_upgrade",  # has a thread and a loop of its own
}

_NO_PROGRAMS = {
    "root": lambda: os.geteuid() == 0,
    "overlay": may_mount_overlay,
    "oras": lambda: importlib.util.find_spec("oras") is not None,
    **INSTALLED,
}
"""What a test may need that is not a program on the search path."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run also the tests that take minutes")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and not item.config.getoption("--long"):
        pytest.skip("takes minutes; run with --long")
    needed = dict.fromkeys(name for marker in item.iter_markers("needs") for name in marker.args)
    missing = [name for name in needed if not _is_here(name)]
    if not missing:
        return
    sentence = f"not on this machine: {', '.join(missing)}"
    required = {name.strip() for name in os.environ.get("BLOBD_TEST_REQUIRE", "").split(",")}
    if required.intersection(missing):
        pytest.fail(f"{sentence}, which BLOBD_TEST_REQUIRE asks for", pytrace=False)
    pytest.skip(sentence)


def _is_here(name: str) -> bool:
    check = _NO_PROGRAMS.get(name)
    return check() if check else which(name) is not None


@pytest.fixture(autouse=True, scope="session")
def no_blocking() -> Iterator[None]:
    """Fail when blobd's own code blocks the event loop."""
    guard = BlockBuster(scanned_modules="blobd")
    for name in _MISSED_BY_BLOCKBUSTER:
        if hasattr(os, name):
            guard.functions[f"os.{name}"] = BlockBusterFunction(os, name, scanned_modules="blobd")
    for name, places in _MAY_BLOCK.items():
        for file, function in places.items():
            guard.functions[name].can_block_in(file, function)
    for watched in guard.functions.values():
        for file, place in _MAY_BLOCK_AT_ALL.items():
            watched.can_block_in(file, place)
    guard.activate()
    yield
    guard.deactivate()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[daemons.Daemon]:
    """A running `blobd serve` on an empty folder; at the end it must stop well."""
    with daemons.Daemon(tmp_path / "data") as running:
        yield running


@pytest.fixture
def two_daemons(tmp_path: Path) -> Iterator[tuple[daemons.Daemon, daemons.Daemon]]:
    """Two running `blobd serve` on one folder."""
    with daemons.Daemon(tmp_path / "data") as one, daemons.Daemon(tmp_path / "data") as other:
        yield one, other


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL; a test with it is marked `needs("postgres")`."""
    with Postgres() as running:
        yield running


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database, gone after the test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """The S3 engines that have been asked for so far; each runs to the end of the session."""
    with Engines() as running:
        yield running


@pytest.fixture
def engine(request: pytest.FixtureRequest, engines: Engines) -> S3Engine:
    """A running S3 engine: a test says which, by `indirect` parameters from `engines/every.py`."""
    return engines.get(request.param)


@pytest.fixture
def bucket(engine: S3Engine) -> Iterator[Bucket]:
    """An empty bucket; what is in it goes with the test."""
    made = engine.make_bucket()
    yield made
    made.clear()
