"""What clients do in repositories: mounts, manifests, tags, and reading and deleting blobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.contents import digest_of
from tests.crash.exchange import Lost
from tests.crash.ledger import State
from tests.crash.uploading import expect

if TYPE_CHECKING:
    import random

    from tests.crash.exchange import Answer
    from tests.crash.ledger import Book, Ledger
    from tests.crash.site import Site

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TAGS = ("latest", "v1", "v2", "nightly")
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Images:
    """One client's hand on what is stored. Every method may raise Lost."""

    site: Site
    ledger: Ledger
    book: Book
    choice: random.Random

    # Blobs

    async def read(self, book: Book, digest: str) -> bool:
        """Read a blob in anyone's place: it is there or not as promised, and whole (1, 2)."""
        promise, content = book.blobs[digest], book.contents[digest]
        before = (promise.state, promise.changes)
        headers, span = {}, slice(0, content.size_bytes)
        if content.size_bytes and self.choice.random() < 0.3:
            first = self.choice.randrange(content.size_bytes)
            span = slice(first, min(first + _PIECE_BYTES, content.size_bytes))
            headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        try:
            answer = await self.site.ask(
                book.place, "GET", book.place.blob(digest), headers=headers, kind="get"
            )
        except Lost as error:
            if not content.data[span].startswith(error.received):
                raise AssertionError(f"{digest} began as something else") from error
            raise
        if answer.status == 404:
            assert before != (State.HELD, promise.changes), f"{digest} of {book.name} is gone"
            return False
        expect(answer, 206 if headers else 200)
        assert answer.body == content.data[span], f"{digest} reads as something else"
        if book.place.repository:
            assert before != (State.GONE, promise.changes), f"{digest} is no blob of {book.name}"
        return True

    async def delete_blob(self, digest: str) -> None:
        """End this place's hold, which no manifest here may need."""
        promise, named_by = self.book.blobs[digest], self._named_by(digest)
        with promise.asked(State.GONE):
            answer = await self._delete(self.book.place.blob(digest))
            if answer.status != 405:
                expect(answer, 202)
        if answer.status == 405:
            promise.settle(State.HELD)
            assert State.HELD in named_by or State.UNSURE in named_by, f"{digest}: {answer}"
        else:
            assert State.HELD not in named_by, f"{digest} went though manifests name it"

    def _named_by(self, digest: str) -> list[State]:
        """Return how it is with each manifest here that names a blob."""
        return [
            self.book.manifests[manifest].state
            for manifest, document in self.book.documents.items()
            if digest.encode() in document
        ]

    async def mount(self, source: Book, digest: str) -> None:
        """Mount a blob of another repository, if it is still there when asked."""
        self.book.contents[digest] = source.contents[digest]
        place = self.book.place
        target = f"{place.uploads}?mount={digest}&from={source.place.repository}"
        promise = self.book.blobs[digest]
        before, since = promise.state, source.blobs[digest].changes
        with self.ledger.beginning(), promise.asked(State.HELD):
            answer = await self.site.ask(place, "POST", target, kind="mount")
        if answer.status == 201:
            return
        expect(answer, 202)
        promise.settle(State.GONE)
        assert before is not State.HELD, f"{digest} of {self.book.name} cannot be mounted anew"
        assert source.blobs[digest].changes != since, f"{digest} of {source.name} cannot be mounted"
        upload_id = answer.headers["docker-upload-uuid"]
        self.ledger.broken.add(upload_id)
        expect(await self._delete(place.upload(upload_id)), 204)

    # Manifests

    async def push_image(self) -> None:
        """Push a manifest of what is held, under a tag or its digest: all of that or nothing."""
        held = self.book.held()
        named = self.choice.sample(held, min(len(held), 3))
        number = len(self.book.documents)
        document = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": self._descriptor(named[0]),
                "layers": [self._descriptor(digest) for digest in named[1:]],
                "annotations": {"number": f"{self.book.name} {number}"},
            }
        ).encode()
        digest = digest_of(document)
        self.book.documents[digest] = document
        reference = self.choice.choice([*_TAGS, digest])
        if reference != digest:
            self.book.tags[reference] |= {digest}
        self.book.pushing = (digest, reference)
        with self.book.manifests[digest].asked(State.HELD):
            answer = await self.site.ask(
                self.book.place,
                "PUT",
                self.book.place.manifest(reference),
                headers={"Content-Type": _MANIFEST},
                body=document,
                kind="manifest",
            )
            expect(answer, 201)
        self.book.pushing = None
        if reference != digest:
            self.book.tags[reference] = {digest}

    async def delete_tag(self, tag: str) -> None:
        self.book.pushing = None
        self.book.tags[tag] |= {None}
        expect(await self._delete(self.book.place.manifest(tag)), 202)
        self.book.tags[tag] = {None}

    async def delete_manifest(self, digest: str) -> None:
        """Delete a manifest, and with it every tag of it."""
        tags = [tag for tag, possible in self.book.tags.items() if digest in possible]
        self.book.pushing = None
        for tag in tags:
            self.book.tags[tag] |= {None}
        with self.book.manifests[digest].asked(State.GONE):
            expect(await self._delete(self.book.place.manifest(digest)), 202)
        for tag in tags:
            self.book.tags[tag] -= {digest}

    def _descriptor(self, digest: str) -> dict[str, object]:
        size_bytes = self.book.contents[digest].size_bytes
        return {"mediaType": "application/octet-stream", "digest": digest, "size": size_bytes}

    async def _delete(self, target: str) -> Answer:
        return await self.site.ask(self.book.place, "DELETE", target, kind="delete")
