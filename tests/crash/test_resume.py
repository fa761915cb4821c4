"""Going on after a kill -9 reads nothing that was staged: counted by the kernel (promise 5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crash.contents import Content
from tests.crash.ledger import Place
from tests.crash.reading import ReadWatch
from tests.crash.steps import Upload, begin
from tests.crash.uploading import expect
from tests.daemon import Daemon

_MIB = 1024 * 1024
_STAGED_BYTES = 24 * _MIB
_LEFT_BYTES = 1 * _MIB
_BESIDE_BYTES = 4 * _MIB
"""More than records, catalog and metrics make a daemon read beside an upload."""


def read_bytes(daemon: Daemon) -> int:
    """Return the bytes that a daemon's processes have read, sockets included (rchar, proc(5))."""
    total = 0
    for pid in daemon.pids():
        facts = Path(f"/proc/{pid}/io").read_text().splitlines()
        total += sum(int(fact.split()[1]) for fact in facts if fact.startswith("rchar:"))
    return total


async def _staged(daemon: Daemon, content: Content) -> Upload:
    upload = await begin(daemon, Place(), content)
    answer = await upload.patch(daemon, 0, _STAGED_BYTES)
    expect(answer, 202)
    assert answer.offset == _STAGED_BYTES
    return upload


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_upload_goes_on_after_kill_9_without_reading_again(data: Path, algorithm: str) -> None:
    """Promise 5: 24 MiB are staged, 1 MiB is sent; the new process reads but that."""
    content = Content(f"resumed {algorithm}", _STAGED_BYTES + _LEFT_BYTES, algorithm)
    with Daemon(data) as daemon:
        upload = asyncio.run(_staged(daemon, content))
        daemon.kill()
        daemon.start()

        async def go_on() -> None:
            before = read_bytes(daemon)
            with ReadWatch([data / "uploads" / upload.upload_id]) as reads:
                status = await upload.status(daemon)
                assert status.offset == _STAGED_BYTES
                half = _STAGED_BYTES + _LEFT_BYTES // 2
                expect(await upload.patch(daemon, _STAGED_BYTES, half), 202)
                expect(await upload.put(daemon, half), 201)
                assert f"{upload.upload_id}/bytes" not in reads.seen()
            assert read_bytes(daemon) - before < _LEFT_BYTES + _BESIDE_BYTES
            assert daemon.metric("blobd_reread_bytes_total") == 0
            assert (await upload.read(daemon)).body == content.data

        asyncio.run(go_on())


def test_an_empty_put_after_kill_9_reads_nothing(data: Path) -> None:
    """Promises 4, 5: the record knows the digest of what is staged."""
    content = Content("complete", _STAGED_BYTES)
    with Daemon(data) as daemon:
        upload = asyncio.run(_staged(daemon, content))
        daemon.kill()
        daemon.start()

        async def finish() -> None:
            before = read_bytes(daemon)
            expect(await upload.put(daemon, _STAGED_BYTES), 201)
            assert read_bytes(daemon) - before < _BESIDE_BYTES
            assert (await upload.read(daemon)).body == content.data

        asyncio.run(finish())


def test_reading_again_is_seen_where_it_must_be(data: Path) -> None:
    """Design, section 5: an unannounced other algorithm costs one re-read. So the count counts."""
    content = Content("of another algorithm", _STAGED_BYTES)
    with Daemon(data) as daemon:

        async def finish() -> None:
            upload = await _staged(daemon, content)
            other = Upload(upload.place, upload.upload_id, Content(*_as_blake3(content)))
            before = read_bytes(daemon)
            with ReadWatch([data / "uploads" / upload.upload_id]) as reads:
                expect(await other.put(daemon, _STAGED_BYTES), 201)
                assert f"{upload.upload_id}/bytes" in reads.seen()
            assert read_bytes(daemon) - before >= _STAGED_BYTES
            assert daemon.metric("blobd_reread_bytes_total") == _STAGED_BYTES

        asyncio.run(finish())


def _as_blake3(content: Content) -> tuple[str, int, str]:
    return content.recipe, content.size_bytes, "blake3"
