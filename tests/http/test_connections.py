"""More connections than descriptors: idle ones give way, others are told, and nobody is cut off."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from blobd.descriptors import connections_for
from blobd.http.connections import Connections
from blobd.metrics import Metrics
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILES = 256
_LIMIT = connections_for(_FILES, max_uploads=1024)
_SOON_S = 60
_ASK = b"GET /v2/ HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of one worker that can have only a few connections."""
    with Daemon(tmp_path / "data", open_files=_FILES) as daemon:
        yield daemon


def connect(daemon: Daemon, stack: ExitStack) -> socket.socket:
    host, _, port = daemon.registry.rpartition(":")
    return stack.enter_context(closing(socket.create_connection((host, int(port)), _SOON_S)))


def head_of(answering: socket.socket) -> bytes:
    """Return the head of the next answer, with what came with it; empty: closed."""
    head = b""
    while b"\r\n\r\n" not in head and (data := answering.recv(65536)):
        head += data
    return head


def begin_slowly(daemon: Daemon, stack: ExitStack) -> socket.socket:
    """Return a connection that is busy with a request that goes on."""
    busy = connect(daemon, stack)
    busy.sendall(b"POST /v2/demo/image/blobs/uploads/ HTTP/1.1\r\nHost: here\r\n\r\n")
    head = head_of(busy)
    where = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"location:"))
    path = where.split(b":", 1)[1].strip()
    busy.sendall(b"PATCH %s HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\nx" % path)
    return busy


@pytest.mark.needs("prlimit")
def test_idle_connections_give_way_to_new_ones(crowded: Daemon) -> None:
    """Twice as many clients as fit ask once each and stay: all are answered, none is reset."""
    with ExitStack() as stack:
        for _ in range(2 * _LIMIT):
            asking = connect(crowded, stack)
            asking.sendall(_ASK)
            assert head_of(asking).startswith(b"HTTP/1.1 200 ")
        silent = [connect(crowded, stack) for _ in range(_LIMIT)]
        late = connect(crowded, stack)
        late.sendall(_ASK)
        assert head_of(late).startswith(b"HTTP/1.1 200 ")
        assert len(silent) == _LIMIT
    assert crowded.metric("blobd_connections_closed_idle_total") >= _LIMIT
    assert crowded.metric("blobd_connections_refused_total") == 0
    assert crowded.metric("blobd_connections_max") == _LIMIT


@pytest.mark.needs("prlimit")
def test_where_all_are_busy_a_new_one_is_told(crowded: Daemon) -> None:
    """503 with Retry-After and a metric, one line in the log; those that are busy go on."""
    with ExitStack() as stack:
        busy = [begin_slowly(crowded, stack) for _ in range(_LIMIT)]
        for _ in range(5):
            with ExitStack() as own:
                refused = connect(crowded, own)
                refused.sendall(_ASK)
                head = head_of(refused)
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in head
            assert b"UNAVAILABLE" in head
        assert crowded.metric("blobd_connections") == _LIMIT + 1, "operators still get answers"
        flood = [connect(crowded, stack) for _ in range(200)]  # resets are all that is left
        for each in flood:
            each.close()
        busy[0].sendall(b"x" * 999_999)
        assert head_of(busy[0]).startswith(b"HTTP/1.1 202 ")
        for each in busy:
            each.close()
        give_up_at = time.monotonic() + _SOON_S
        while True:
            with ExitStack() as own:
                again = connect(crowded, own)
                again.sendall(_ASK)
                if head_of(again).startswith(b"HTTP/1.1 200 "):
                    break
            assert time.monotonic() < give_up_at, "nobody is let in any more"
    assert crowded.metric("blobd_connections_refused_total") >= 5
    assert crowded.log().count("as many as its limit on open files allows") == 1
    assert crowded.metric("blobd_connections") <= _LIMIT


@pytest.mark.needs("prlimit")
def test_a_burst_of_connections_leaves_room_for_others(tmp_path: Path) -> None:
    """listen.py: while the daemon is busy and accepts none, hundreds can wait."""
    with Daemon(tmp_path / "data") as daemon, ExitStack() as stack:
        pids = daemon.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(600):
                connect(daemon, stack)  # which would have to try again where there is no room
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_too_few_files_are_refused_at_the_start(tmp_path: Path) -> None:
    """What cannot be served well is told in one line, with the way out."""
    daemon = Daemon(tmp_path / "data", open_files=100)
    with pytest.raises(AssertionError, match="raise LimitNOFILE"):
        daemon.start()


class _Connection:
    closed = False

    def force_close(self) -> None:
        self.closed = True


def test_the_longest_idle_goes_first() -> None:
    """connections.py: nobody busy is closed, and nobody closed is counted."""
    connections = Connections(3, Metrics())
    first, second, third, fourth, fifth = (_Connection() for _ in range(5))
    for each in (first, second, third):
        assert connections.opened(each)
        connections.idle(each)
    connections.busy(first)
    connections.idle(first)
    connections.busy(third)
    assert connections.opened(fourth)
    assert [each.closed for each in (first, second, third)] == [False, True, False]
    connections.busy(first)
    assert connections.opened(fifth) is False
    connections.closed(fifth)
    connections.closed(first)
    assert connections.opened(fifth)


@pytest.mark.parametrize(("files", "max_uploads"), [(256, 1024), (1024, 1024), (65536, 1024)])
def test_descriptors_suffice_for_what_connections_open(files: int, max_uploads: int) -> None:
    """descriptors.py: two for each connection, one more for each that uploads."""
    connections = connections_for(files, max_uploads=max_uploads)
    assert 2 * connections + min(connections, max_uploads) <= files - 160
    assert connections >= files // 8
