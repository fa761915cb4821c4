"""kill -9 in the middle of one long body: a PATCH goes on at the byte, a PUT where it stood (5)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blobd.durable import boot_id
from tests.crash.contents import Content
from tests.crash.exchange import Answer, Exchange, Lost
from tests.crash.harness import say
from tests.crash.ledger import Place
from tests.crash.patience import until
from tests.crash.steps import Upload, begin
from tests.crash.uploading import expect
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 1024 * 1024
_SIZE_BYTES = 24 * _MIB
_DOCKER_CHUNK_BYTES = 32 * 1024
_SEED = time.time_ns() % 1_000_000


@pytest.fixture(name="daemon", params=[1, 2], ids=["one process", "two workers"])
def _daemon(request: pytest.FixtureRequest, data: Path) -> Iterator[Daemon]:
    with Daemon(data, settings={"server.workers": str(request.param)}) as running:
        yield running


async def _pour(exchange: Exchange, content: memoryview, *, chunked: bool) -> None:
    """Send a body until the other side is gone, with pauses in which it may be killed."""
    for start in range(0, len(content), _DOCKER_CHUNK_BYTES):
        piece = content[start : start + _DOCKER_CHUNK_BYTES]
        if not await (exchange.chunk(piece) if chunked else exchange.send(piece)):
            return
        if start % (16 * _DOCKER_CHUNK_BYTES) == 0:
            await asyncio.sleep(0.001)


async def _break(
    daemon: Daemon, upload: Upload, method: str, sent: int, *, chunked: bool, kill_at: int
) -> None:
    """Send a body from `sent` on, and kill whoever receives it when so many bytes are written."""
    left = memoryview(upload.content.data)[sent:]
    length_bytes = None if chunked else len(left)
    with suppress(Lost):
        async with upload.writing(daemon, method, length_bytes=length_bytes) as exchange:
            async with asyncio.TaskGroup() as group:
                # never to its end: it must not be over before its writer is killed
                most = left[:-_DOCKER_CHUNK_BYTES]
                pouring = group.create_task(_pour(exchange, most, chunked=chunked))
                await until(lambda: _written(daemon, upload) >= kill_at)
                _kill_writer(daemon, upload)
                pouring.cancel()
            await exchange.answer()


def _folder(daemon: Daemon, upload: Upload) -> Path:
    return daemon.data / "uploads" / upload.upload_id


def _written(daemon: Daemon, upload: Upload) -> int:
    """Return how many bytes are in the upload's file, whatever it is called now."""
    for name in ("bytes", "provisional"):
        with suppress(FileNotFoundError):
            return (_folder(daemon, upload) / name).stat().st_size
    return 0


def _kill_writer(daemon: Daemon, upload: Upload) -> None:
    """Kill -9 the process that receives the upload: one worker, or the whole daemon.

    Returns when the kernel has closed what it had open; until then it counts as alive.
    """
    if len(daemon.pids()) == 1:
        daemon.kill()
        daemon.start()
        return
    writer = _writer(daemon, upload)
    assert writer is not None, "nobody has the upload open"
    os.kill(writer, signal.SIGKILL)
    while _writer(daemon, upload) is not None:
        time.sleep(0.01)


def _writer(daemon: Daemon, upload: Upload) -> int | None:
    """Return the process that has the upload's folder or bytes open."""
    folder = os.path.realpath(_folder(daemon, upload))
    for pid in daemon.pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    if str(descriptor.readlink()).startswith(folder):
                        return pid
    return None


async def _status(daemon: Daemon, upload: Upload) -> Answer:
    """Ask how it stands; the dead worker's connections may have to be outlived."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Lost):
                return await upload.status(daemon)
            await asyncio.sleep(0.05)


def _record(daemon: Daemon, upload: Upload) -> int:
    return int(json.loads((_folder(daemon, upload) / "record").read_text())["offset"])


@pytest.mark.parametrize(
    ("place", "chunked"),
    [(Place("crash/layers"), True), (Place(), False)],
    ids=["registry, chunked", "blob API, with a length"],
)
def test_a_patch_goes_on_at_the_exact_byte(daemon: Daemon, place: Place, *, chunked: bool) -> None:
    """Docker's way and others': all that had reached the file counts, and is read at most once."""
    chance = random.Random(f"{_SEED} {place} {chunked}")
    say(f"seed {_SEED}")
    content = Content(f"killed in a PATCH {_SEED}", _SIZE_BYTES)

    async def run() -> None:
        upload = await begin(daemon, place, content)
        at = 0
        for _ in range(3):
            kill_at = at + chance.randrange(1, (_SIZE_BYTES - at) // 2)
            await _break(daemon, upload, "PATCH", at, chunked=chunked, kill_at=kill_at)
            recorded = _record(daemon, upload)
            answer = await _status(daemon, upload)
            expect(answer, 204)
            assert answer.offset == _written(daemon, upload) >= kill_at > at >= recorded
            at = answer.offset
        expect(await upload.patch(daemon, at, _SIZE_BYTES), 202)
        expect(await upload.put(daemon, _SIZE_BYTES), 201)
        assert (await upload.read(daemon)).body == content.data
        assert daemon.metric("blobd_reread_bytes_total") <= at

    asyncio.run(run())


def test_the_whole_daemon_killed_in_a_patch_goes_on_at_the_exact_byte(data: Path) -> None:
    """What is read again is what the record did not count, by the process that goes on."""
    content = Content(f"killed with all {_SEED}", _SIZE_BYTES)

    async def kill(upload: Upload) -> None:
        async with upload.writing(daemon, "PATCH") as exchange:
            await _pour(exchange, memoryview(content.data)[: 9 * _MIB], chunked=True)
            await until(lambda: _written(daemon, upload) == 9 * _MIB)
            daemon.kill()

    async def go_on(upload: Upload) -> None:
        for _ in range(2):
            answer = await upload.status(daemon)
            assert answer.offset == 9 * _MIB
        expect(await upload.patch(daemon, 9 * _MIB, 10 * _MIB), 202)
        assert daemon.metric("blobd_reread_bytes_total") == 9 * _MIB
        expect(await upload.put(daemon, 10 * _MIB), 201)
        assert daemon.metric("blobd_reread_bytes_total") == 9 * _MIB
        assert (await upload.read(daemon)).body == content.data

    with Daemon(data) as daemon:
        upload = asyncio.run(begin(daemon, Place(), content))
        asyncio.run(kill(upload))
        daemon.start()
        asyncio.run(go_on(upload))


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with a length"])
def test_a_put_goes_back_to_where_it_stood(daemon: Daemon, *, chunked: bool) -> None:
    """At the beginning and after a PATCH; then the same PUT is sent again, as oras does."""
    chance = random.Random(_SEED)
    content = Content(f"killed in a PUT {_SEED}", _SIZE_BYTES)

    async def run() -> None:
        upload = await begin(daemon, Place(), content)
        for stood in (0, 5 * _MIB):
            if stood:
                expect(await upload.patch(daemon, 0, stood), 202)
            kill_at = stood + chance.randrange(1, 8 * _MIB)
            await _break(daemon, upload, "PUT", stood, chunked=chunked, kill_at=kill_at)
            assert _written(daemon, upload) >= kill_at
            assert (await _status(daemon, upload)).offset == stood
        expect(await upload.put(daemon, 5 * _MIB), 201)
        assert (await upload.read(daemon)).body == content.data
        assert daemon.metric("blobd_reread_bytes_total") == 0

    asyncio.run(run())


def test_after_a_restart_of_the_machine_it_goes_on_at_the_record(data: Path) -> None:
    """What had reached the file may not have reached the disk."""
    content = Content(f"restarted {_SEED}", _SIZE_BYTES)

    async def kill(upload: Upload) -> None:
        expect(await upload.patch(daemon, 0, 3 * _MIB), 202)
        async with upload.writing(daemon, "PATCH") as exchange:
            await _pour(exchange, memoryview(content.data)[3 * _MIB : 9 * _MIB], chunked=True)
            await until(lambda: _written(daemon, upload) == 9 * _MIB)
            daemon.kill()

    async def go_on(upload: Upload) -> None:
        assert (await upload.status(daemon)).offset == 3 * _MIB
        expect(await upload.put(daemon, 3 * _MIB), 201)
        assert (await upload.read(daemon)).body == content.data

    with Daemon(data) as daemon:
        upload = asyncio.run(begin(daemon, Place(), content))
        asyncio.run(kill(upload))
        record = _folder(daemon, upload) / "record"
        record.write_text(record.read_text().replace(boot_id(), "another boot"))
        daemon.start()
        asyncio.run(go_on(upload))
