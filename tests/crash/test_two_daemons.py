"""Two daemons on one folder: uploads move between them, and only one writes (promises 5, 6, 9)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.crash.contents import Content, digest_of
from tests.crash.exchange import Exchange, Lost, ask
from tests.crash.folders import memory_folder
from tests.crash.ledger import Place
from tests.crash.patience import until
from tests.crash.steps import address_of, begin, push
from tests.crash.uploading import expect
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Pair = tuple[Daemon, Daemon]
PLACES = [pytest.param(Place(), id="api"), pytest.param(Place("two/daemons"), id="registry")]
CONTENT = Content("moves", 3_000_001)

_SWEEPING = {
    "upkeep.expire_interval_s": "0.05",
    "upkeep.gc_interval_s": "0.05",
    "upkeep.receipt_lifetime_s": "0",
    "limits.upload_idle_expiry_s": "1",
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two daemons, to be left alive."""
    with memory_folder() as folder, two_daemons(folder / "data") as both:
        yield both


@contextmanager
def two_daemons(data: Path, settings: Mapping[str, str] | None = None) -> Iterator[Pair]:
    with Daemon(data, settings=settings) as one, Daemon(data, settings=settings) as other:
        yield one, other


@pytest.mark.parametrize("place", PLACES)
async def test_an_upload_goes_on_through_either_daemon(pair: Pair, place: Place) -> None:
    """Promise 5: every step through the other one, and nothing is read again."""
    one, other = pair
    upload = await begin(one, place, CONTENT)
    for start, daemon in ((0, other), (500_000, one), (1_000_000, other)):
        assert (await upload.status(daemon)).offset == start
        answer = await upload.patch(daemon, start, start + 500_000)
        expect(answer, 202)
        assert answer.offset == start + 500_000
    expect(await upload.put(one, 1_500_000), 201)
    expect(await upload.status(other), 404)
    expect(await upload.put(other, CONTENT.size_bytes), 201)
    for daemon in pair:
        assert (await upload.read(daemon)).body == CONTENT.data
        assert daemon.metric("blobd_reread_bytes_total") == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_client_that_comes_back_to_another_daemon_takes_over(
    pair: Pair, place: Place, method: str, framing: str
) -> None:
    """Promise 6: within 5 s, else it would be 503; the first connection writes no more."""
    one, other = pair
    upload = await begin(one, place, CONTENT)
    expect(await upload.patch(one, 0, 1_000_000), 202)
    rest = CONTENT.data[1_000_000:]
    length = len(rest) if framing == "length" else None
    async with upload.writing(one, method, length_bytes=length) as stalled:
        wrong = b"!" * 700_000
        await (stalled.send(wrong) if length else stalled.chunk(wrong))
        assert (await upload.status(other)).offset == 1_000_000
        answer = await upload.patch(other, 1_000_000, 1_800_000)
        expect(answer, 202)
        assert answer.offset == 1_800_000
        late = await stalled.answer()
        expect(late, 416)
        assert late.headers["location"] == f"{upload.target}.{late.offset}"
        assert late.offset in (1_000_000, 1_800_000)
        assert late.headers["connection"] == "close"
        await stalled.send(wrong)
    assert (await upload.status(one)).offset == 1_800_000
    expect(await upload.put(other, 1_800_000), 201)
    assert (await upload.read(one)).body == CONTENT.data


@pytest.mark.parametrize("place", PLACES)
async def test_a_put_and_a_cancellation_take_over_across_daemons(pair: Pair, place: Place) -> None:
    """Promise 6: PATCH, PUT and DELETE do."""
    one, other = pair
    finished, cancelled = await begin(one, place, CONTENT), await begin(one, place, CONTENT)
    async with (
        finished.writing(one, "PATCH") as first,
        cancelled.writing(one, "PATCH") as second,
    ):
        await first.chunk(b"!" * 1000)
        await second.chunk(b"!" * 1000)
        expect(await finished.put(other, 0), 201)
        expect(await cancelled.delete(other), 204)
        for overtaken in (first, second):
            assert (await overtaken.answer()).status in (404, 416)
    assert (await finished.read(one)).body == CONTENT.data
    for daemon in pair:
        expect(await cancelled.status(daemon), 404)


async def test_writers_of_two_daemons_never_interleave(pair: Pair) -> None:
    """Promise 6: what was acknowledged lies in one piece each, and nothing else is there."""
    upload = await begin(pair[0], Place(), CONTENT)
    taken: dict[tuple[int, int], bytes] = {}
    overtaken = 0

    async def write(letter: bytes, rounds: int) -> None:
        nonlocal overtaken
        choice = random.Random(letter)
        for _ in range(rounds):
            size_bytes = choice.randint(2, 400_000)
            async with Exchange(address_of(choice.choice(pair), Place())) as exchange:
                await exchange.head("PATCH", upload.target, {"Transfer-Encoding": "chunked"})
                for piece_bytes in (size_bytes // 2, size_bytes - size_bytes // 2):
                    await exchange.chunk(letter * piece_bytes)
                    await asyncio.sleep(choice.choice([0, 0.02]))
                await exchange.chunk(b"")
                answer = await exchange.answer()
            if answer.status == 202:
                taken[answer.offset - size_bytes, answer.offset] = letter * size_bytes
            else:
                expect(answer, 416)
                overtaken += 1

    async with asyncio.TaskGroup() as group:
        for letter in (b"a", b"b", b"c"):
            group.create_task(write(letter, 8))
    await write(b"z", 1)
    assert overtaken > 0, "nobody got into another's way"
    spans = sorted(taken)
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans)][:-1]
    whole = b"".join(taken[span] for span in spans)
    target = f"{upload.target}?digest={digest_of(whole)}"
    expect(await ask(address_of(pair[1], Place()), "PUT", target, body=b""), 201)
    blob = await ask(address_of(pair[0], Place()), "GET", f"/blobs/{digest_of(whole)}")
    assert blob.body == whole


async def test_a_frozen_daemon_keeps_its_upload_busy_and_then_loses_it(
    pair: Pair,
) -> None:
    """Promise 6: 503 as long as nobody can know that it will not write; then it does not."""
    one, other = pair
    upload = await begin(one, Place(), CONTENT)
    async with upload.writing(one, "PATCH") as stalled:
        await stalled.chunk(CONTENT.data[:1000])
        os.kill(one.pids()[0], signal.SIGSTOP)
        try:
            answer = await upload.patch(other, 0, 1000)
            expect(answer, 503)
            assert answer.headers["retry-after"].isdigit()
            await stalled.chunk(b"!" * 100_000)
        finally:
            os.kill(one.pids()[0], signal.SIGCONT)
        expect(await upload.patch(other, 0, 2000), 202)
        expect(await stalled.answer(), 416)
    expect(await upload.put(one, 2000), 201)
    assert (await upload.read(other)).body == CONTENT.data


@pytest.mark.parametrize("place", PLACES)
async def test_kill_9_of_one_leaves_the_other_s_transfers_alone(data: Path, place: Place) -> None:
    """Promises 5, 6, 9: its uploads go on through the other one at once, its lock is free."""
    with two_daemons(data) as (one, other):
        mine, theirs = await begin(one, place, CONTENT), await begin(other, place, CONTENT)
        expect(await mine.patch(one, 0, 1_000_000), 202)
        stored = await push(one, place, Content("stored before", 2_000_000))
        async with theirs.writing(other, "PUT", length_bytes=CONTENT.size_bytes) as put:
            await put.send(CONTENT.data[:1_000_000])
            async with mine.writing(one, "PATCH") as broken:
                await broken.chunk(CONTENT.data[1_000_000:1_500_000])
                one.kill()
                with pytest.raises(Lost):
                    await broken.answer()
            arrived = (await mine.status(other)).offset
            assert 1_000_000 <= arrived <= 1_500_000
            expect(await mine.patch(other, arrived, 2_000_000), 202)
            await put.send(CONTENT.data[1_000_000:])
            expect(await put.answer(), 201)
        expect(await mine.put(other, 2_000_000), 201)
        assert (await mine.read(other)).body == CONTENT.data
        assert (await stored.read(other)).body == stored.content.data
        assert other.metric("blobd_reread_bytes_total") == arrived - 1_000_000
        one.start()
        assert (await mine.read(one)).body == CONTENT.data


async def test_both_expire_and_collect_at_once(data: Path) -> None:
    """Promises 9, 11: what is held and what is written to stays, everything else goes."""
    with two_daemons(data, _SWEEPING) as pair:
        place = Place("two/sweepers")
        kept = [await push(pair[n % 2], place, Content(f"kept {n}", 20_000)) for n in range(6)]
        alive = await begin(pair[0], place, CONTENT)
        for number in range(20):
            daemon, other = random.Random(number).sample(pair, 2)
            await begin(daemon, place, CONTENT)
            dropped = await push(daemon, place, Content(f"dropped {number}", 20_000))
            target = place.blob(dropped.content.digest)
            expect(await ask(address_of(other, place), "DELETE", target), 202)
            expect(await alive.patch(other, number * 1000, (number + 1) * 1000), 202)
        offset = 20_000
        async with asyncio.timeout(30):
            while {path.name for path in (data / "uploads").iterdir()} != {alive.upload_id}:
                await asyncio.sleep(0.1)
                expect(await alive.patch(pair[1], offset, offset + 2), 202)
                offset += 2
        held = {one.content.digest for one in kept}
        await until(lambda: {f"sha256:{path.name}" for path in data.glob("blobs/*/*/*")} == held)
        expect(await alive.put(pair[0], offset), 201)
        for upload in (*kept, alive):
            assert (await upload.read(pair[1])).body == upload.content.data
