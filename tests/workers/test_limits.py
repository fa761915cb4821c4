"""Limits are limits of the daemon: however its uploads fall to its workers, and when one dies."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

_SOON_S = 60
_MIB = 1024 * 1024


class _Uploads:
    """Uploads that have begun and do not go on."""

    def __init__(self, daemon: Daemon, stack: ExitStack) -> None:
        self._daemon = daemon
        self._stack = stack
        self.count = 0

    def begin(self, number: int) -> None:
        """Begin so many more, at one time; return once all of them receive."""
        wheres = [self._start() for _ in range(number)]
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(self._stall, wheres))
        self.count += number
        _until(lambda: self._daemon.metric("blobd_uploads_in_flight") == self.count)

    def refused(self) -> bool:
        """Return whether one more is answered 429."""
        where = self._start()
        with closing(self._connection()) as connection:
            connection.request("PATCH", where, b"b" * 1000)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in {202, 429}
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) > 0
            return answer.status == 429

    def _start(self) -> str:
        with closing(self._connection()) as connection:
            connection.request("POST", "/uploads")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 202
            return str(answer.headers["Location"])

    def _stall(self, where: str) -> None:
        connection = self._stack.enter_context(closing(self._connection()))
        connection.putrequest("PATCH", where)
        connection.putheader("Content-Length", "1000000")
        connection.endheaders(b"a" * 100_000)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._daemon.blob_api_url[7:], timeout=_SOON_S)


def _in_flight(daemon: Daemon, worker: int) -> int:
    """Return how many uploads a worker has files of open."""
    uploads = daemon.data / "uploads"
    links = [link.readlink() for link in Path(f"/proc/{worker}/fd").iterdir()]
    return len({link.parent for link in links if link.parent.parent == uploads})


def test_as_many_uploads_are_received_as_allowed(tmp_path: Path) -> None:
    """Issue: 16 allowed, 8 workers: 12 at once are all let in, so are 16, and the 17th is not."""
    settings = {"server.workers": "8", "limits.max_uploads": "16", "store.durability": "none"}
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(tmp_path / "data", settings=settings))
        uploads = _Uploads(daemon, stack)
        uploads.begin(12)
        assert not uploads.refused()
        uploads.begin(4)
        assert uploads.refused()
        _, *workers = daemon.pids()
        left = [_in_flight(daemon, worker) for worker in workers]
        assert sum(left) == 16
        os.kill(workers[left.index(max(left))], signal.SIGKILL)
        uploads.count -= max(left)
        _until(lambda: daemon.metric("blobd_uploads_in_flight") == uploads.count)
        uploads.begin(max(left))
        assert uploads.refused()
    assert "429" not in daemon.stderr


def test_one_worker_may_use_the_whole_budget(tmp_path: Path) -> None:
    """Issue: a budget of 16 of the smallest buffers, 8 workers, 12 uploads of many buffers each."""
    settings = {
        "server.workers": "8",
        "limits.bytes_in_flight_max_bytes": str(_MIB),
        "store.durability": "none",
    }

    def push(number: int) -> int:
        body = number.to_bytes(4) * (2 * _MIB)
        digest = hashlib.sha256(body).hexdigest()
        with closing(http.client.HTTPConnection(api, timeout=_SOON_S)) as connection:
            connection.request("POST", f"/uploads?digest=sha256:{digest}", body)
            answer = connection.getresponse()
            answer.read()
            return answer.status

    with Daemon(tmp_path / "data", settings=settings) as daemon:
        api = daemon.blob_api_url[7:]
        assert daemon.metric("blobd_in_flight_budget_bytes") == _MIB
        _, first, *others = daemon.pids()
        for worker in others:
            os.kill(worker, signal.SIGSTOP)
        assert push(0) == 201
        for worker in others:
            os.kill(worker, signal.SIGCONT)
        with ThreadPoolExecutor(12) as pool:
            assert set(pool.map(push, range(1, 13))) == {201}
        assert first in daemon.pids()
        _until(lambda: daemon.metric("blobd_in_flight_bytes") == 0)


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.05)
