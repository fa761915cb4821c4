"""SIGTERM: running transfers end well or are saved, and the daemon ends with 0."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.backends.acts import off_loop
from tests.crash.contents import Content
from tests.crash.exchange import Exchange, Lost
from tests.crash.ledger import Place
from tests.crash.patience import until
from tests.crash.steps import Upload, address_of, begin, push
from tests.crash.uploading import expect
from tests.daemon import Daemon

CONTENT = Content("drained", 3_000_000)
LARGE = Content("large", 16 * 1024 * 1024)
PLACE = Place("drained/image")
_SOON_S = 30


async def _refuses(daemon: Daemon, address: str) -> None:
    """Wait until no new connection is accepted."""
    async with asyncio.timeout(_SOON_S):
        while True:
            try:
                async with Exchange(address):
                    await asyncio.sleep(0.01)
            except Lost:
                return


def _terminate(daemon: Daemon) -> None:
    os.kill(daemon.pids()[0], signal.SIGTERM)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_running_transfers_finish_and_new_ones_are_refused(data: Path, workers: str) -> None:
    """Item 2: stop accepting, let running transfers finish, exit 0."""
    daemon = Daemon(data, settings={"server.workers": workers})
    daemon.start()
    address = address_of(daemon, PLACE)
    stored = await push(daemon, PLACE, LARGE)
    upload, patched = [await begin(daemon, PLACE, CONTENT) for _ in range(2)]
    async with (
        upload.writing(daemon, "PUT", length_bytes=CONTENT.size_bytes) as put,
        patched.writing(daemon, "PATCH") as patch,
        Exchange(address, receive_bytes=65536) as get,
        Exchange(address),
    ):
        await put.send(CONTENT.data[:1000])
        await patch.chunk(CONTENT.data[:1000])
        await get.head("GET", PLACE.blob(stored.content.digest))
        await get.peek()
        _terminate(daemon)
        for front in (address, address_of(daemon, Place())):
            await _refuses(daemon, front)
        assert (await get.answer()).body == LARGE.data
        await put.send(CONTENT.data[1000:])
        expect(await put.answer(), 201)
        await patch.chunk(CONTENT.data[1000:2000])
        await patch.chunk(b"")
        answer = await patch.answer()
        expect(answer, 202)
        assert answer.offset == 2000
    await off_loop(daemon.stop)
    with daemon:
        assert (await upload.read(daemon)).body == CONTENT.data
        expect(await patched.put(daemon, 2000), 201)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_does_not_finish_in_time_is_saved(data: Path, workers: str) -> None:
    """Promise 5, item 2: when the drain time is over a PATCH keeps all that arrived, a PUT none."""
    settings = {"server.workers": workers, "limits.drain_timeout_s": "0.5"}
    daemon = Daemon(data, settings=settings)
    daemon.start()
    stored = await push(daemon, PLACE, LARGE)
    uploads = [await begin(daemon, PLACE, CONTENT) for _ in range(3)]
    for upload in uploads:
        expect(await upload.patch(daemon, 0, 1000), 202)
    chunked, measured, closing = uploads
    left_bytes = CONTENT.size_bytes - 1000
    received = daemon.metric("blobd_received_bytes_total")
    async with (
        chunked.writing(daemon, "PATCH") as first,
        measured.writing(daemon, "PATCH", length_bytes=left_bytes) as second,
        closing.writing(daemon, "PUT", length_bytes=left_bytes) as third,
        Exchange(address_of(daemon, PLACE), receive_bytes=65536) as get,
    ):
        await first.chunk(CONTENT.data[1000:800_000])
        await second.send(CONTENT.data[1000:900_000])
        await third.send(CONTENT.data[1000:700_000])
        await get.head("GET", PLACE.blob(stored.content.digest))
        await get.peek()
        sent_bytes = 799_000 + 899_000 + 699_000
        await until(lambda: daemon.metric("blobd_received_bytes_total") - received >= sent_bytes)
        await off_loop(daemon.stop)
        for cut in (first, second, third, get):
            with pytest.raises(Lost):
                await cut.answer()
    with daemon:
        for upload, offset in ((chunked, 800_000), (measured, 900_000), (closing, 1000)):
            await _goes_on(daemon, upload, offset)
        assert daemon.metric("blobd_reread_bytes_total") == 0


async def _goes_on(daemon: Daemon, upload: Upload, offset: int) -> None:
    assert (await upload.status(daemon)).offset == offset
    expect(await upload.put(daemon, offset), 201)
    assert (await upload.read(daemon)).body == CONTENT.data


async def test_an_idle_daemon_ends_at_once(data: Path) -> None:
    """Item 2: connections that wait for nothing hold nobody up."""
    daemon = Daemon(data)
    daemon.start()
    async with Exchange(address_of(daemon, Place())) as kept:
        await kept.head("GET", "/healthz")
        expect(await kept.answer(), 200)
        started = asyncio.get_running_loop().time()
        await off_loop(daemon.stop)
        assert asyncio.get_running_loop().time() - started < _SOON_S / 2, "no drain time was spent"


def test_killed_workers_leave_nothing_in_the_temporary_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 9: nothing is put there in the first place."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Daemon(data, settings={"server.workers": "2"}) as daemon:
        assert daemon.metric("blobd_received_bytes_total") == 0
        assert list(tmp_path.iterdir()) == []
        daemon.kill()
    assert list(tmp_path.iterdir()) == []


async def test_a_stop_while_a_worker_is_replaced_ends_them_all(data: Path) -> None:
    """Item 2: SIGTERM right after a worker died, before the next one stands."""
    daemon = Daemon(data, settings={"server.workers": "2"})
    daemon.start()
    supervisor, worker, _ = daemon.pids()
    os.kill(worker, signal.SIGKILL)
    await until(lambda: worker not in daemon.pids())
    assert daemon.pids()[0] == supervisor
    await off_loop(daemon.stop)


async def test_a_worker_that_died_before_the_stop_is_no_failure_of_it(data: Path) -> None:
    """Exit code 0: the supervisor hears of both at once."""
    daemon = Daemon(data, settings={"server.workers": "2"})
    daemon.start()
    supervisor, worker, _ = daemon.pids()
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    await until(lambda: _is_dead(worker))
    os.kill(supervisor, signal.SIGTERM)
    os.kill(supervisor, signal.SIGCONT)
    await off_loop(daemon.stop)


def _is_dead(pid: int) -> bool:
    """Return whether a process, with all its threads, waits for nothing but its parent's notice."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z" and len([*Path(f"/proc/{pid}/task").iterdir()]) == 1
