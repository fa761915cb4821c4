"""A daemon whose clock is 40 days ahead for a while removes nothing for it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.registry.protocol import Registry, digest_of, with_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("faketime")

JUMP_S = 8.0
_WITHIN_S = 60


class Clock:
    """The system clock as one daemon sees it; its boot clock stays as it is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.set("+0")

    def set(self, offset: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self._file)

    def environment(self) -> dict[str, str]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


@contextmanager
def running(
    kind: str, request: pytest.FixtureRequest, folder: Path, clock: Clock, settle_s: float
) -> Iterator[Daemon]:
    settings = {
        "store.durability": "none",
        "upkeep.gc_interval_s": "0.5",
        "upkeep.expire_interval_s": "0.5",
        "upkeep.unnamed_link_grace_s": "86400",
        "limits.upload_idle_expiry_s": "86400",
        "upkeep.clock_settle_s": str(settle_s),
    }
    if kind == "postgresql":
        settings["catalog.url"] = request.getfixturevalue("postgres").create_database()
    with Daemon(folder / "data", settings=settings, environment=clock.environment()) as daemon:
        yield daemon


def until(what: str, daemon: Daemon) -> None:
    end = time.monotonic() + _WITHIN_S
    while what not in daemon.log():
        assert time.monotonic() < end, f"no {what!r} in\n{daemon.log()}"
        time.sleep(0.1)


def test_eight_seconds_of_another_month_remove_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    clock = Clock(tmp_path)
    with running(kind, request, tmp_path, clock, settle_s=12) as daemon:
        registry = Registry(daemon.registry)
        blob = registry.push(name, b"unnamed")
        session = registry.send("PATCH", registry.start(name).location, b"half").location
        clock.set("+40d")
        until("the system clock jumped", daemon)
        # a client that comes meanwhile does not end its session either
        session = registry.send("PATCH", session, b" and").location
        time.sleep(JUMP_S)
        clock.set("+0")
        until("jobs that remove go on", daemon)
        time.sleep(2)
        assert registry.get(f"/v2/{name}/blobs/{blob}").body == b"unnamed"
        data = b"half and half"
        answer = registry.send("PUT", with_digest(session, digest_of(data)), b" half")
        assert answer.status == 201, answer.body
        assert daemon.log().count("nothing is removed until the clocks have agreed") == 1


def test_a_daemon_that_starts_with_a_wrong_clock_removes_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    clock = Clock(tmp_path)
    with running(kind, request, tmp_path, clock, settle_s=3600) as daemon:
        registry = Registry(daemon.registry)
        blob = registry.push(name, b"unnamed")
        session = registry.send("PATCH", registry.start(name).location, b"half").location
        daemon.stop()
        clock.set("+40d")
        daemon.start()
        until("the last trace of a daemon here", daemon)
        time.sleep(2)
        daemon.stop()
        clock.set("+0")
        daemon.start()
        assert registry.get(f"/v2/{name}/blobs/{blob}").body == b"unnamed"
        assert registry.get(session).status == 204


def test_a_clock_that_was_corrected_is_believed_in_the_end(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    if kind == "postgresql":
        pytest.skip("the server's clock is not the one that jumps")
    clock = Clock(tmp_path)
    with running(kind, request, tmp_path, clock, settle_s=2) as daemon:
        registry = Registry(daemon.registry)
        blob = registry.push(name, b"unnamed")
        clock.set("+40d")
        until("jobs that remove go on", daemon)
        until("blob collected", daemon)
        assert registry.get(f"/v2/{name}/blobs/{blob}").status == 404
