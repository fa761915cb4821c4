"""Several workers on one pair of sockets: any of them takes up what another began."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.engines.leash import below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SOON_S = 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of two workers."""
    with Daemon(tmp_path / "data", settings={"server.workers": "2"}) as running:
        yield running


def _workers(daemon: Daemon) -> list[int]:
    supervisor, *workers = daemon.pids()
    assert len(workers) == 2, f"{supervisor} has workers {workers}"
    return workers


@contextmanager
def _only(daemon: Daemon, worker: int) -> Iterator[None]:
    """Stop the other worker for the block, so that this one takes every new connection."""
    others = [pid for pid in _workers(daemon) if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def _ask(
    daemon: Daemon, method: str, path: str, body: bytes | None = None, **headers: str
) -> http.client.HTTPResponse:
    """Send one request on a connection of its own; the answer's body has been read."""
    connection = http.client.HTTPConnection(
        daemon.blob_api_url.removeprefix("http://"), timeout=_SOON_S
    )
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        return answer
    finally:
        connection.close()


def test_an_upload_goes_from_worker_to_worker_without_reading_again(pair: Daemon) -> None:
    """Promise 5: begun on one worker, continued on the other, committed on the first."""
    first, second = _workers(pair)
    halves = os.urandom(3_000_001), os.urandom(2_000_003)
    digest = "sha256:" + hashlib.sha256(halves[0] + halves[1]).hexdigest()
    with _only(pair, first):
        where = str(_ask(pair, "POST", "/uploads").headers["Location"])
        assert _ask(pair, "PATCH", where, halves[0]).status == 202
    with _only(pair, second):
        status = _ask(pair, "GET", where)
        assert (status.status, status.headers["Range"]) == (204, f"0-{len(halves[0]) - 1}")
        where = str(status.headers["Location"])
        assert _ask(pair, "PATCH", where, halves[1]).status == 202
    with _only(pair, first):
        assert _ask(pair, "PUT", f"{where}?digest={digest}").status == 201
    with _only(pair, second):
        assert _ask(pair, "GET", f"/blobs/{digest}").body == halves[0] + halves[1]  # type: ignore[attr-defined]
    assert pair.metric("blobd_reread_bytes_total") == 0


def test_a_writer_on_one_worker_is_overtaken_from_the_other(pair: Daemon) -> None:
    """Promise 6: the client that comes back gets in, the dead connection does not write."""
    first, second = _workers(pair)
    blob = os.urandom(600_000)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    with _only(pair, first):
        where = str(_ask(pair, "POST", "/uploads").headers["Location"])
        host = pair.blob_api_url.removeprefix("http://")
        stalled = http.client.HTTPConnection(host, timeout=_SOON_S)
        stalled.putrequest("PATCH", where)
        stalled.putheader("Content-Length", str(len(blob)))
        stalled.endheaders(blob[:100_000])
        _until(lambda: pair.metric("blobd_uploads_in_flight") == 1)
    os.kill(first, signal.SIGCONT)
    # the second worker takes connections as well as the first; either way the upload moves over
    answer = _ask(pair, "PUT", f"{where}?digest={digest}", blob)
    assert answer.status == 201
    assert stalled.getresponse().status == 416
    stalled.close()
    assert _ask(pair, "GET", f"/blobs/{digest}").body == blob  # type: ignore[attr-defined]
    assert second in _workers(pair)


def test_metrics_are_added_up_over_workers(pair: Daemon) -> None:
    """What each worker counted shows in the one answer that either of them gives."""
    for worker in _workers(pair):
        with _only(pair, worker):
            blob = os.urandom(70_000)
            digest = "sha256:" + hashlib.sha256(blob).hexdigest()
            assert _ask(pair, "POST", f"/uploads?digest={digest}", blob).status == 201
    for worker in _workers(pair):
        with _only(pair, worker):
            assert pair.metric("blobd_received_bytes_total") == 140_000
            assert pair.metric("blobd_uploads_total", outcome="committed") == 2
    budget = pair.metric("blobd_in_flight_budget_bytes")
    assert budget == 256 * 1024 * 1024, "there is one budget for all workers"


def test_metrics_begin_anew_with_the_daemon(pair: Daemon) -> None:
    """Files that the workers of an earlier run left behind are not added to this one's."""
    blob = os.urandom(70_000)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    assert _ask(pair, "POST", f"/uploads?digest={digest}", blob).status == 201
    pair.restart()
    assert pair.metric("blobd_received_bytes_total") == 0


def test_a_dead_worker_is_replaced_and_takes_nothing_with_it(pair: Daemon) -> None:
    """kill -9 of one worker: the other goes on, a new one comes, uploads go on at their offset."""
    doomed, survivor = _workers(pair)
    with _only(pair, doomed):
        where = str(_ask(pair, "POST", "/uploads").headers["Location"])
        assert _ask(pair, "PATCH", where, b"a" * 100_000).status == 202
    os.kill(doomed, signal.SIGKILL)
    status = _ask(pair, "GET", where)
    assert (status.status, status.headers["Range"]) == (204, "0-99999")

    def replaced() -> bool:
        pids = pair.pids()
        return len(pids) == 3 and doomed not in pids

    _until(replaced)
    assert survivor in _workers(pair)
    digest = "sha256:" + hashlib.sha256(b"a" * 100_000).hexdigest()
    assert _ask(pair, "PUT", f"{where}?digest={digest}").status == 201


def test_workers_that_die_together_are_all_replaced(pair: Daemon) -> None:
    """What they had in flight is not counted any more, and what they had received still is."""
    blob = os.urandom(200_000)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    assert _ask(pair, "POST", f"/uploads?digest={digest}", blob).status == 201
    doomed = _workers(pair)
    stalled = []
    for worker in doomed:
        with _only(pair, worker):
            where = str(_ask(pair, "POST", "/uploads").headers["Location"])
            stalled.append(http.client.HTTPConnection(pair.blob_api_url[7:], timeout=_SOON_S))
            stalled[-1].putrequest("PATCH", where)
            stalled[-1].putheader("Content-Length", "100000")
            stalled[-1].endheaders(b"a" * 50_000)
            wanted = 200_000 + len(stalled) * 50_000
            _until(lambda wanted=wanted: pair.metric("blobd_received_bytes_total") == wanted)  # type: ignore[misc]
    assert pair.metric("blobd_uploads_in_flight") == 2
    for worker in doomed:
        os.kill(worker, signal.SIGKILL)
    _until(lambda: len(pair.pids()) == 3 and not set(doomed) & set(pair.pids()))
    assert pair.metric("blobd_uploads_in_flight") == 0
    assert pair.metric("blobd_received_bytes_total") == 300_000
    for connection in stalled:
        connection.close()
    assert _ask(pair, "GET", f"/blobs/{digest}").body == blob  # type: ignore[attr-defined]


_WITHOUT_PROCESSES = """
import errno, sys
from blobd import supervise
from blobd.config import load

spawned, spawn = 0, supervise.spawn

def spawn_seldom(work, *, name):
    global spawned
    spawned += 1
    if spawned in (3, 4):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return spawn(work, name=name)

supervise.spawn = spawn_seldom
flags = dict(word.split("=") for word in sys.argv[1:])
sys.exit(supervise.serve(load(file=None, environment={}, flags=flags)))
"""


def test_a_worker_is_replaced_once_there_are_processes_again(tmp_path: Path) -> None:
    """A machine that cannot fork for a moment costs one worker for that moment, not the daemon."""
    settings = [f"store.path={tmp_path}", "server.workers=2", "registry.auth=false"]
    addresses = ["registry.listen=127.0.0.1:0", "blob_api.listen=127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-c", _WITHOUT_PROCESSES, *settings, *addresses],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("blobd ")
    first, second = below(process.pid)
    os.kill(first, signal.SIGKILL)
    _until(lambda: first not in below(process.pid))
    _until(lambda: len([*below(process.pid)]) == 2)
    assert second in below(process.pid)
    process.terminate()
    _, log = process.communicate(timeout=_SOON_S)
    assert process.returncode == 0
    assert log.count("tried again: Resource temporarily unavailable") == 2


def test_idle_workers_share_most_of_their_memory(pair: Daemon) -> None:
    """They are forked from one image, and so is the one that replaces another."""
    first, second = _workers(pair)
    os.kill(first, signal.SIGKILL)
    _until(lambda: len(pair.pids()) == 3 and first not in pair.pids())
    for worker in (second, *(pid for pid in _workers(pair) if pid != second)):
        lines = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
        assert sizes["Private_Dirty:"] < sizes["Rss:"] / 2, sizes


@pytest.mark.parametrize("after_s", [0.2, 1.0, 1.8, 2.6])
def test_a_stop_while_workers_start_leaves_nothing(tmp_path: Path, after_s: float) -> None:
    """Whatever it meets: imports, migrations, forks, workers that do not listen yet."""
    command = [sys.executable, "-m", "blobd", "serve", f"--data={tmp_path}", "--no-auth"]
    addresses = ["--listen=127.0.0.1:0", "--blob-api=127.0.0.1:0", "--workers=3"]
    process = subprocess.Popen([*command, *addresses], stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    started = [*below(process.pid)]
    process.terminate()
    assert process.wait(_SOON_S) in {0, -signal.SIGTERM}
    _until(lambda: not any(_alive(pid) for pid in started))


def test_background_jobs_run_once_however_many_workers_there_are(tmp_path: Path) -> None:
    """Two workers, one job: an abandoned upload is counted as expired once."""
    settings = {
        "server.workers": "2",
        "upkeep.expire_interval_s": "0.2",
        "limits.upload_idle_expiry_s": "1",
        "log.level": "debug",
    }
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        assert _ask(daemon, "POST", "/uploads").status == 202
        _until(lambda: daemon.metric("blobd_expired_uploads_total") >= 1)
        assert daemon.metric("blobd_expired_uploads_total") == 1
        assert daemon.metric("blobd_uploads_total", outcome="expired") == 1


def test_workers_end_with_their_supervisor(pair: Daemon) -> None:
    """kill -9 of the supervisor leaves no worker behind on its ports."""
    supervisor, *workers = pair.pids()
    os.kill(supervisor, signal.SIGKILL)
    _until(lambda: not any(_alive(pid) for pid in workers))
    pair.kill()


def test_a_worker_that_cannot_start_ends_the_daemon_in_one_line(tmp_path: Path) -> None:
    """A wrong setting is told by the supervisor, before any worker is started."""
    (tmp_path / "data").write_text("not a folder")
    daemon = Daemon(tmp_path / "data", settings={"server.workers": "2"})
    with pytest.raises(AssertionError, match="did not start"):
        daemon.start()
    assert "store.path" in daemon.stderr
    assert "Traceback" not in daemon.stderr


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    """Wait for something that must come about soon."""
    give_up_at = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.05)
