"""What must be true once the daemons are up again and nobody asks for anything (promises 1-3, 5,
9, 11)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.contents import digest_of
from tests.crash.images import Images
from tests.crash.ledger import Place, State
from tests.crash.patience import until
from tests.crash.reading import ReadWatch
from tests.crash.uploading import Uploader, expect

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Iterable

    from tests.crash.ledger import Book, Ledger
    from tests.crash.site import Site

_AT_ONCE = 8
_BYTES_FILES = frozenset({"bytes", "provisional"})
_SESSION_FILES = _BYTES_FILES | {"record", "record.new", "claim"}
_API = Place()


@dataclass(frozen=True, slots=True)
class Checks:
    """Looks at everything, through any daemon; what was unsure becomes sure."""

    site: Site
    ledger: Ledger
    choice: random.Random

    async def after_restart(self, *, finish: float) -> int:
        """Check all promises; finish that share of the open uploads. Return what was resumed."""
        await self._quiet()
        resumed_bytes = await self._uploads(finish=finish)
        await self._blobs()
        await self._manifests()
        await self._quiet()
        await self._folders()
        return resumed_bytes

    async def _uploads(self, *, finish: float) -> int:
        """Every acknowledged offset is there, and going on reads nothing that was staged (5)."""
        resumed_bytes = 0

        async def settle(book: Book) -> None:
            nonlocal resumed_bytes
            uploader = Uploader(self.site, self.ledger, book, self.choice)
            for session in list(book.sessions):
                if not await uploader.settle(session, exact=True):
                    continue
                if self.choice.random() < finish:
                    resumed_bytes += session.offset
                    if session.left and session.content.algorithm != "blake3":
                        await uploader.append(session, len(session.left) // 2 + 1)
                    await uploader.finish(session)

        root = self.site.data / "uploads"
        watched = self.ledger.open_sessions().keys() & self.site.upload_folders().keys()
        with ReadWatch(root / upload_id for upload_id in watched) as reads:
            await _together(settle(book) for book in self.ledger.books)
            read = {Path(name) for name in reads.seen()}
        acknowledged = {
            str(path)
            for path in read
            if path.name in _BYTES_FILES and path.parent.name not in self.ledger.unacknowledged
        }
        assert not acknowledged, f"read again: {acknowledged}"
        return resumed_bytes

    async def _blobs(self) -> None:
        """What was answered 201 is there, reads as its digest, and nothing else does (1, 2, 3)."""

        async def read(book: Book, digest: str) -> None:
            images = Images(self.site, self.ledger, book, self.choice)
            there = await images.read(book, digest)
            promise = book.blobs[digest]
            if promise.state is State.UNSURE and (book.place.repository or not there):
                promise.settle(State.HELD if there else State.GONE)

        await _together(
            read(book, digest) for book in self.ledger.books for digest in book.contents
        )
        await self._listing()

    async def _listing(self) -> None:
        answer = await self.site.ask(_API, "GET", "/blobs?limit=10000")
        expect(answer, 200)
        listed = {entry["digest"]: entry["size"] for entry in json.loads(answer.body)["blobs"]}
        asked_for = {digest for book in self.ledger.books for digest in book.contents}
        assert listed.keys() <= asked_for
        for book in self.ledger.books:
            for digest in book.held():
                assert listed.get(digest) == book.contents[digest].size_bytes, digest

    async def _manifests(self) -> None:
        """Manifests and tags answered 201 are there, to the byte; half of a push never is (3)."""
        await _together(
            self._manifests_of(book) for book in self.ledger.books if book.place.repository
        )

    async def _manifests_of(self, book: Book) -> None:
        for digest, promise in book.manifests.items():
            seen = State.HELD if await self._manifest(book, digest) else State.GONE
            assert promise.state in (State.UNSURE, seen), digest
            promise.settle(seen)
        for tag, possible in book.tags.items():
            target = await self._manifest(book, tag)
            assert target in possible, f"{tag} of {book.name} is {target}, not one of {possible}"
            book.tags[tag] = {target}
        if book.pushing is not None:
            digest, reference = book.pushing
            if reference in book.tags:
                is_there = book.manifests[digest].state is State.HELD
                is_tagged = book.tags[reference] == {digest}
                assert is_there == is_tagged, "half a push is there"
            book.pushing = None
        answer = await self.site.ask(book.place, "GET", f"/v2/{book.place.repository}/tags/list")
        tagged = {tag for tag, (digest,) in book.tags.items() if digest is not None}
        if answer.status == 200:
            assert set(json.loads(answer.body)["tags"] or ()) == tagged
        else:
            expect(answer, 404)
            assert not tagged

    async def _manifest(self, book: Book, reference: str) -> str | None:
        answer = await self.site.ask(book.place, "GET", book.place.manifest(reference))
        if answer.status == 404:
            return None
        expect(answer, 200)
        digest = digest_of(answer.body)
        assert book.documents[digest] == answer.body
        assert answer.headers["docker-content-digest"] == digest
        return digest

    async def _quiet(self) -> None:
        """No buffer, no admission, no file is held for requests that are over (9)."""
        try:
            await until(lambda: not any(self._in_use()))
        except TimeoutError:
            raise AssertionError(f"still in use: {self._in_use()}") from None
        # Nothing is read again but what killed writers had not recorded.
        assert self.site.metric("blobd_reread_bytes_total") <= sum(
            self.ledger.unacknowledged.values()
        )

    def _in_use(self) -> tuple[float, float, list[str]]:
        return (
            self.site.metric("blobd_in_flight_bytes"),
            self.site.metric("blobd_uploads_in_flight"),
            self.site.open_files(),
        )

    async def _folders(self) -> None:
        """No upload is left that nobody knows of, and no file that is no upload's (9)."""
        known = self.ledger.open_sessions().keys() | self.ledger.broken | self.ledger.finished
        folders = self.site.upload_folders()
        unknown = folders.keys() - known
        receipts = {upload_id for upload_id in unknown if not _BYTES_FILES & folders[upload_id]}
        assert len(unknown - receipts) <= self.ledger.nameless, f"leaked: {unknown - receipts}"
        assert len(unknown) <= self.ledger.nameless + self.ledger.at_once
        missing = self.ledger.open_sessions().keys() - folders.keys()
        assert not missing, f"lost: {missing}"
        for upload_id, names in folders.items():
            strange = {name for name in names - _SESSION_FILES if not name.startswith("claim.")}
            assert not strange, f"{strange} in {upload_id}"


async def _together(jobs: Iterable[Awaitable[None]]) -> None:
    """Await all, a few at a time."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def run(job: Awaitable[None]) -> None:
        async with turn:
            await job

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(run(job))
