"""Failed logins are counted over all workers, and never shut out a credential that is right."""

from __future__ import annotations

import base64
import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from blobd.registry.auth.attempts import BURST
from tests.daemon import Daemon
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SOON_S = 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of two workers that asks who is there, behind a proxy."""
    settings = {
        "server.workers": "2",
        "registry.auth": "true",
        "registry.trusted_proxies": "127.0.0.1",
    }
    with Daemon(tmp_path / "data", settings=settings) as running:
        yield running


@contextmanager
def _only(daemon: Daemon, worker: int) -> Iterator[None]:
    """Stop the other worker for the block, so that this one takes every new connection."""
    _, *workers = daemon.pids()
    others = [pid for pid in workers if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _log_in(daemon: Daemon, password: str, address: str, path: str = "/v2/") -> int:
    shown = base64.b64encode(f"somebody:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {shown}", "X-Forwarded-For": address}
    answer = Registry(daemon.registry).get(path, **headers)
    if answer.status == 429:
        assert answer.codes == ["TOOMANYREQUESTS"]
        assert int(answer.headers["Retry-After"]) >= 1
    return answer.status


def _guesses_before_429(daemon: Daemon, address: str) -> int:
    """Return how many wrong passwords are answered before one is too many."""
    for count in range(4 * BURST):
        status = _log_in(daemon, f"guess{count}", address)
        if status == 429:
            return count
        assert status == 401
    raise AssertionError("guessing is never slowed down")


def test_wrong_passwords_count_in_all_workers_and_right_ones_always_work(pair: Daemon) -> None:
    """By address, and for IPv6 by the /64 that a client has for itself."""
    assert pair.first_token is not None
    _, first, second = pair.pids()
    with _only(pair, first):
        assert _guesses_before_429(pair, "10.0.0.1") >= BURST
        assert _guesses_before_429(pair, "2001:db8:0:1::1") >= BURST
    with _only(pair, second):
        # less than a burst: an address earns some back while the test runs
        assert _guesses_before_429(pair, "10.0.0.1") < BURST // 2
        assert _guesses_before_429(pair, "2001:db8:0:1:2:3:4:5") < BURST // 2
        assert _log_in(pair, "guess", "2001:db8:0:2::1") == 401
        assert _log_in(pair, "guess", "10.0.0.2") == 401
    for worker in (first, second):
        with _only(pair, worker):
            _guesses_before_429(pair, "10.0.0.1")
            for path in ("/v2/", "/token", "/api/user"):
                assert _log_in(pair, pair.first_token, "10.0.0.1", path) == 200, path


def test_a_worker_that_is_replaced_forgets_no_failure(pair: Daemon) -> None:
    _, first, second = pair.pids()
    with _only(pair, first):
        assert _guesses_before_429(pair, "10.0.0.1") >= BURST
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + _SOON_S
    while not (replacing := set(pair.pids()[1:]) - {first, second}):
        assert time.monotonic() < until, "the killed worker is not replaced"
        time.sleep(0.05)
    with _only(pair, replacing.pop()):
        assert _guesses_before_429(pair, "10.0.0.1") < BURST // 2
