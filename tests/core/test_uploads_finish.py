"""Finishing a session: digests, holds, failures, and a PUT repeated (promises 1, 9, 11)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from blobd.backends.memory import Memory
from blobd.backends.wrappers import Fault, Faulty
from blobd.digest import Digest, Span
from blobd.errors import (
    BackendUnavailable,
    BlobNotFound,
    BlobTooLarge,
    BodyBroken,
    DigestMismatch,
    DigestUnsupported,
    OffsetMismatch,
    SizeMismatch,
    StorageFull,
    StorageLost,
    UploadUnknown,
)
from blobd.hashing import Hashing
from tests.backends.acts import digest_of, fetch, listed
from tests.core.hall import OWNER, Hall, hall
from tests.core.scripted import ScriptedBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.backends.base import Committed

DATA = random.Random(14).randbytes(400_000)
DIGEST = digest_of(DATA)


@pytest.fixture(params=[True, False], ids=["states", "plain"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Hall]:
    """With saved hash states, and on a machine that has none."""
    async with hall(hashing=Hashing(saved_states=request.param)) as opened:
        yield opened


async def begun(opened: Hall, data: bytes = b"", algorithm: str = "sha256") -> str:
    upload_id = (await opened.uploads.start(OWNER, algorithm=algorithm)).upload_id
    if data:
        await opened.uploads.append(upload_id, OWNER, ScriptedBody.of(data))
    return upload_id


async def finish(
    opened: Hall,
    upload_id: str,
    digest: Digest,
    body: ScriptedBody | None = None,
    span: Span | None = None,
) -> Committed:
    return await opened.uploads.finish(
        upload_id, OWNER, digest, opened.holder, body=body, span=span
    )


class TestRoads:
    """The ways in which clients send a blob (R-rules of the push protocol)."""

    async def test_one_put_with_all_bytes(self, here: Hall) -> None:
        """POST, PUT with the body: containerd, buildkit, oras."""
        upload_id = await begun(here)
        committed = await finish(here, upload_id, DIGEST, ScriptedBody.of(DATA))
        assert (committed.digest, committed.size_bytes) == (DIGEST, len(DATA))
        assert await fetch(here.backend, DIGEST) == DATA
        assert here.holder.held == {DIGEST: len(DATA)}
        assert here.sample("reread_bytes_total") == 0
        assert here.sample("uploads_total", outcome="committed") == 1

    async def test_one_patch_and_an_empty_put(self, here: Hall) -> None:
        """POST, PATCH, PUT without a body: docker, podman; without a state, without reading."""
        upload_id = await begun(here, DATA)
        await finish(here, upload_id, DIGEST)
        assert await fetch(here.backend, DIGEST) == DATA
        assert here.sample("reread_bytes_total") == 0

    async def test_a_last_piece_in_the_put(self, here: Hall) -> None:
        """POST, PATCH, PUT with the rest; read again only where no state is saved."""
        upload_id = await begun(here, DATA[:100_000])
        await finish(
            here, upload_id, DIGEST, ScriptedBody.of(DATA[100_000:]), Span(100_000, len(DATA))
        )
        assert await fetch(here.backend, DIGEST) == DATA
        resumable = "sha256" in here.uploads._hashing.resumable
        assert here.sample("reread_bytes_total") == (0 if resumable else 100_000)

    async def test_nothing_at_all(self, here: Hall) -> None:
        """The empty blob, by either road."""
        empty = digest_of(b"")
        await finish(here, await begun(here), empty)
        await finish(here, await begun(here), empty, ScriptedBody.of(b""))
        await finish(here, await begun(here), empty, ScriptedBody.of(b"", announced=False))
        assert await fetch(here.backend, empty) == b""

    @pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
    async def test_another_algorithm_announced_at_the_start_costs_nothing(
        self, here: Hall, algorithm: str
    ) -> None:
        """Section 5, Resume: `digest-algorithm=` at POST."""
        digest = digest_of(DATA, algorithm)
        await finish(here, await begun(here, DATA, algorithm), digest)
        await finish(here, await begun(here, b"", algorithm), digest, ScriptedBody.of(DATA))
        assert await fetch(here.backend, digest) == DATA
        assert here.sample("reread_bytes_total") == 0

    @pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
    async def test_another_algorithm_announced_late_costs_one_reading(
        self, here: Hall, algorithm: str
    ) -> None:
        """Section 5, Resume: unannounced at the final PUT."""
        digest = digest_of(DATA, algorithm)
        upload_id = await begun(here, DATA)
        await finish(here, upload_id, digest)
        assert await fetch(here.backend, digest) == DATA
        assert here.sample("reread_bytes_total") == len(DATA)

    @pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
    async def test_another_algorithm_named_before_the_bytes_costs_nothing(
        self, here: Hall, algorithm: str
    ) -> None:
        """Section 5, Resume: the digest before the bytes, in the URL of the only PUT."""
        digest = digest_of(DATA, algorithm)
        await finish(here, await begun(here), digest, ScriptedBody.of(DATA))
        assert await fetch(here.backend, digest) == DATA
        assert here.sample("reread_bytes_total") == 0

    async def test_a_blob_that_is_there_already_is_counted_and_kept(self, here: Hall) -> None:
        """Promise 10: the bytes are received and only then deduplicated."""
        await finish(here, await begun(here, DATA), DIGEST)
        committed = await finish(here, await begun(here), DIGEST, ScriptedBody.of(DATA))
        assert committed.replaced
        assert await listed(here.backend) == [DIGEST]
        assert here.sample("dedup_hits_total") == 1
        assert here.sample("dedup_saved_bytes_total") == len(DATA)


class TestMismatch:
    async def test_an_empty_put_with_the_wrong_digest_ends_the_session(self, here: Hall) -> None:
        """Section 7: digest does not match, an empty PUT ends the session; nothing visible."""
        upload_id = await begun(here, DATA)
        with pytest.raises(DigestMismatch) as raised:
            await finish(here, upload_id, digest_of(b"other"))
        assert (raised.value.announced, raised.value.computed) == (digest_of(b"other"), DIGEST)
        assert await listed(here.backend) == []
        with pytest.raises(UploadUnknown):
            await here.uploads.status(upload_id, OWNER)
        assert here.sample("discarded_bytes_total") == len(DATA)
        assert here.holder.events == []

    @pytest.mark.parametrize("before", [b"", DATA[:1000]], ids=["only", "last"])
    async def test_a_body_with_the_wrong_digest_is_undone(self, here: Hall, before: bytes) -> None:
        """Section 7: a PUT's body is undone; nothing visible, the right one fits afterwards."""
        upload_id = await begun(here, before)
        with pytest.raises(DigestMismatch):
            await finish(here, upload_id, DIGEST, ScriptedBody.of(b"something else"))
        assert await listed(here.backend) == []
        assert (await here.uploads.status(upload_id, OWNER)).offset == len(before)
        await finish(here, upload_id, DIGEST, ScriptedBody.of(DATA[len(before) :]))
        assert await fetch(here.backend, DIGEST) == DATA

    async def test_an_unsupported_algorithm_changes_nothing(self, here: Hall) -> None:
        """Section 7: DIGEST_INVALID."""
        upload_id = await begun(here, DATA)
        with pytest.raises(DigestUnsupported):
            await finish(here, upload_id, Digest("md5", "0" * 32))
        await finish(here, upload_id, DIGEST)


class TestFailures:
    @pytest.mark.parametrize("before", [b"", DATA[:1000]], ids=["only", "last"])
    async def test_a_put_that_breaks_off_is_undone_and_can_be_repeated(
        self, here: Hall, before: bytes
    ) -> None:
        """Section 7: clients such as oras repeat the whole PUT on the same session."""
        upload_id = await begun(here, before)
        for cut in (0, 1, 200_000):
            body = ScriptedBody(DATA[len(before) : len(before) + cut], BodyBroken(cut))
            with pytest.raises(BodyBroken):
                await finish(here, upload_id, DIGEST, body)
            assert (await here.uploads.status(upload_id, OWNER)).offset == len(before)
        await finish(here, upload_id, DIGEST, ScriptedBody.of(DATA[len(before) :]))
        assert await fetch(here.backend, DIGEST) == DATA

    @pytest.mark.parametrize("span", [Span(0, 10), Span(2000, 2010)])
    async def test_a_put_out_of_order_is_not_read(self, here: Hall, span: Span) -> None:
        """Section 7: 416, PATCH or PUT; the session lives on unchanged."""
        upload_id = await begun(here, DATA[:1000])
        body = ScriptedBody.of(DATA[:10])
        with pytest.raises(OffsetMismatch):
            await finish(here, upload_id, DIGEST, body, span)
        assert body.buffers == []
        assert (await here.uploads.status(upload_id, OWNER)).offset == 1000

    @pytest.mark.parametrize("span", [Span(0, 4), Span(0, 6)], ids=["longer", "shorter"])
    @pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
    async def test_a_put_that_contradicts_its_span_is_undone(
        self, here: Hall, span: Span, announced: bool
    ) -> None:
        """Section 7: SIZE_INVALID; that request is undone."""
        upload_id = await begun(here)
        body = ScriptedBody.of(b"12345", announced=announced)
        with pytest.raises(SizeMismatch):
            await finish(here, upload_id, digest_of(b"12345"), body, span)
        assert await listed(here.backend) == []
        assert (await here.uploads.status(upload_id, OWNER)).offset == 0
        body = ScriptedBody.of(b"12345", announced=announced)
        await finish(here, upload_id, digest_of(b"12345"), body, Span(0, 5))

    @pytest.mark.parametrize("error", [StorageFull(), BackendUnavailable("no")])
    async def test_a_commit_that_fails_leaves_the_session(self, error: Exception) -> None:
        """Promise 9: said again, it succeeds."""
        async with hall(Faulty(Memory(), [Fault("commit", error=error)])) as here:
            upload_id = await begun(here, DATA)
            with pytest.raises(type(error)):
                await finish(here, upload_id, DIGEST)
            assert await listed(here.backend) == []
            assert here.holder.held == {}
            await finish(here, upload_id, DIGEST)
            assert await fetch(here.backend, DIGEST) == DATA

    async def test_bytes_that_could_not_be_synced_end_the_session(self) -> None:
        """Section 5, Commit: that staging is lost, 503."""
        async with hall(Faulty(Memory(), [Fault("commit", error=StorageLost("no"))])) as here:
            upload_id = await begun(here, DATA)
            with pytest.raises(StorageLost):
                await finish(here, upload_id, DIGEST)
            with pytest.raises(UploadUnknown):
                await finish(here, upload_id, DIGEST)
            assert here.holder.held == {}

    async def test_a_put_over_the_limit_is_refused(self, here: Hall) -> None:
        """Promise 8."""
        body = ScriptedBody(length_bytes=10**11)
        upload_id = await begun(here)
        with pytest.raises(BlobTooLarge):
            await finish(here, upload_id, DIGEST, body)
        assert body.buffers == []


class TestHolds:
    async def test_a_digest_is_pinned_before_its_bytes_are_published(self, here: Hall) -> None:
        """Promise 11: pin, publish, hold, unpin."""
        await finish(here, await begun(here, DATA), DIGEST)
        assert here.holder.events == ["pinned", "held", "unpinned"]

    async def test_a_hold_that_fails_is_made_by_a_repeated_put(self, here: Hall) -> None:
        """Promise 9, 11: published, not held; the PUT said again makes the hold."""
        upload_id = await begun(here, DATA)
        here.holder.refuses = BackendUnavailable("the catalog is away")
        with pytest.raises(BackendUnavailable):
            await finish(here, upload_id, DIGEST)
        assert here.holder.held == {}
        here.holder.refuses = None
        await finish(here, upload_id, DIGEST)
        assert here.holder.held == {DIGEST: len(DATA)}


class TestAgain:
    async def test_a_repeated_put_is_answered_again(self, here: Hall) -> None:
        """Section 7: 201 again, its body left unread."""
        upload_id = await begun(here)
        await finish(here, upload_id, DIGEST, ScriptedBody.of(DATA))
        body = ScriptedBody.of(DATA)
        again = await finish(here, upload_id, DIGEST, body)
        assert (again.digest, again.size_bytes) == (DIGEST, len(DATA))
        assert body.buffers == []
        assert (await finish(here, upload_id, DIGEST)).digest == DIGEST
        assert here.sample("uploads_total", outcome="committed") == 1

    async def test_also_when_its_first_sending_finishes_meanwhile(self) -> None:
        """Section 7: open when it was looked at, committed when it was this one's turn."""
        stall = asyncio.Event()
        async with (
            hall(Faulty(Memory(), [Fault("stage", stall=stall)])) as here,
            asyncio.TaskGroup() as group,
        ):
            upload_id = await begun(here)
            body = ScriptedBody.of(DATA)
            repeated = group.create_task(finish(here, upload_id, DIGEST, body))
            await asyncio.sleep(0.05)
            await finish(here, upload_id, DIGEST, ScriptedBody.of(DATA))
            stall.set()
            assert (await repeated).digest == DIGEST
            assert body.buffers == []
            assert here.sample("uploads_total", outcome="committed") == 1

    async def test_only_the_same_put_is(self, here: Hall) -> None:
        """Section 7: session → digest is remembered, nothing else is."""
        upload_id = await begun(here, DATA)
        await finish(here, upload_id, DIGEST)
        for call in (
            finish(here, upload_id, digest_of(b"other")),
            here.uploads.finish(upload_id, "somebody else", DIGEST, here.holder),
            here.uploads.append(upload_id, OWNER, ScriptedBody.of(b"more")),
            here.uploads.status(upload_id, OWNER),
            here.uploads.cancel(upload_id, OWNER),
        ):
            with pytest.raises(UploadUnknown):
                await call
        assert await fetch(here.backend, DIGEST) == DATA

    async def test_a_blob_deleted_since_is_not_promised(self, here: Hall) -> None:
        """Promise 1: never a 201 for bytes that are not there."""
        upload_id = await begun(here, DATA)
        await finish(here, upload_id, DIGEST)
        await here.store.delete(DIGEST)
        with pytest.raises(UploadUnknown):
            await finish(here, upload_id, DIGEST)
        with pytest.raises(BlobNotFound):
            await here.store.stat(DIGEST)

    async def test_a_receipt_is_forgotten_after_an_hour(self, here: Hall) -> None:
        """Section 7: for an hour; `upkeep.receipt_lifetime_s`."""
        upload_id = await begun(here, DATA)
        await finish(here, upload_id, DIGEST)
        here.clock.ahead_s += 3500
        await here.uploads.expire()
        await finish(here, upload_id, DIGEST)
        here.clock.ahead_s += 200
        await here.uploads.expire()
        with pytest.raises(UploadUnknown):
            await finish(here, upload_id, DIGEST)
        assert await fetch(here.backend, DIGEST) == DATA
