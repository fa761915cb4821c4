"""What clients do with uploads; what goes wrong with them is in `mishaps.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.ledger import Doing, Session, State

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from tests.crash.contents import Content
    from tests.crash.exchange import Answer, Exchange
    from tests.crash.ledger import Book, Ledger
    from tests.crash.site import Site

_CHUNK_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Uploader:
    """One client's hand on its uploads. Every method may raise Lost, when a daemon was killed."""

    site: Site
    ledger: Ledger
    book: Book
    choice: random.Random

    async def start(self, content: Content) -> Session:
        """POST, announcing as little as may be."""
        self.book.contents[content.digest] = content
        queries = [f"?digest-algorithm={content.algorithm}"]
        if content.size_bytes:  # the empty blob is pushed whole by its digest alone
            queries.append(f"?digest={content.digest}")
        if content.algorithm == "sha256":
            queries.append("")
        place = self.book.place
        with self.ledger.beginning():
            target = place.uploads + self.choice.choice(queries)
            answer = await self.site.ask(place, "POST", target, kind="post")
            expect(answer, 202)
            session = Session(answer.headers["docker-upload-uuid"], content)
            assert answer.headers["location"] == f"{place.upload(session.upload_id)}.0"
        self.book.sessions.append(session)
        return session

    async def push_at_once(self, content: Content) -> None:
        """POST with digest and body."""
        self.book.contents[content.digest] = content
        place = self.book.place
        self.ledger.at_once += 1
        with self.ledger.beginning(), self.book.blobs[content.digest].asked(State.HELD):
            target = f"{place.uploads}?digest={content.digest}"
            answer = await self.site.ask(place, "POST", target, body=content.data, kind="put")
            expect(answer, 201)

    async def append(self, session: Session, size_bytes: int) -> None:
        """PATCH the next bytes, however framed, from where the upload stands."""
        while (answer := await self._append(session, size_bytes)).status != 202:
            _catch_up(session, answer)
        assert answer.offset == session.sent, f"{answer} after {session.sent} bytes"
        session.offset, session.doing, session.unsettled = session.sent, Doing.NOTHING, False

    async def _append(self, session: Session, size_bytes: int) -> Answer:
        piece = session.left[:size_bytes]
        chunked = self.choice.random() < 0.5
        ranged = session.unsettled or self.choice.random() < 0.3
        async with self.site.visit(self.book.place) as exchange:
            await exchange.head(
                "PATCH",
                self.book.place.upload(session.upload_id),
                framing(piece, chunked=chunked) | (span_of(session, piece) if ranged else {}),
            )
            reached = session.offset + len(piece)
            session.doing = Doing.APPENDING
            session.sent = max(session.sent, reached) if session.unsettled else reached
            await self.pour(exchange, piece, chunked=chunked)
            self.site.reached("patch")
            answer = await exchange.answer()
        if answer.status == 202:
            session.sent = reached
        return answer

    async def finish(self, session: Session) -> None:
        """PUT what is left, and see that the upload has become its blob."""
        self.ledger.finished.add(session.upload_id)
        with self.book.blobs[session.content.digest].asked(State.HELD):
            while True:
                answer = await self.put(session, session.left, session.content.digest)
                if answer.status == 201:
                    break
                _catch_up(session, answer)
        self._finished(session, answer)
        if self.choice.random() < 0.2:
            expect(await self.status(session), 404)
            expect(await self.put(session, session.left[:0], session.content.digest), 201)

    def _finished(self, session: Session, answer: Answer) -> None:
        assert answer.headers["docker-content-digest"] == session.content.digest
        assert answer.headers["location"] == self.book.place.blob(session.content.digest)
        self.book.blobs[session.content.digest].settle(State.HELD)
        self.book.sessions.remove(session)

    async def put(self, session: Session, body: memoryview, digest: str) -> Answer:
        chunked = bool(body) and self.choice.random() < 0.3
        async with self.site.visit(self.book.place) as exchange:
            await exchange.head(
                "PUT",
                f"{self.book.place.upload(session.upload_id)}?digest={digest}",
                framing(body, chunked=chunked) | (span_of(session, body) if body else {}),
            )
            if digest == session.content.digest:
                session.doing = Doing.FINISHING
            await self.pour(exchange, body, chunked=chunked)
            self.site.reached("put")
            return await exchange.answer()

    async def cancel(self, session: Session) -> None:
        """DELETE; nothing is left of it."""
        session.doing = Doing.CANCELLING
        answer = await self.site.ask(
            self.book.place, "DELETE", self.book.place.upload(session.upload_id), kind="delete"
        )
        expect(answer, 204)
        self.book.sessions.remove(session)
        expect(await self.status(session), 404)

    async def settle(self, session: Session, *, exact: bool = False) -> bool:
        """Ask how an upload stands; check that against what was said; return whether it is open.

        `exact`: nothing of an earlier request can still be on its way.
        """
        answer = await self.status(session)
        if answer.status == 204:
            loose = session.unsettled or session.doing is Doing.APPENDING
            most = session.sent if loose else session.offset
            assert session.offset <= answer.offset <= most, f"{session} stands at {answer.offset}"
            if answer.offset > session.offset:
                self.ledger.unacknowledged[session.upload_id] += answer.offset - session.offset
            session.offset, session.doing = answer.offset, Doing.NOTHING
            session.unsettled = session.unsettled and not exact
            return True
        expect(answer, 404)
        if session.doing is Doing.FINISHING:
            put = await self.put(session, session.left[:0], session.content.digest)
            expect(put, 201)
            self._finished(session, put)
        else:
            assert session.doing is Doing.CANCELLING, f"{session} is gone"
            self.book.sessions.remove(session)
            self.ledger.broken.add(session.upload_id)
        return False

    async def write(
        self, exchange: Exchange, method: str, session: Session, fields: Mapping[str, str | int]
    ) -> None:
        """Send a head with its framing and wait until the request is its upload's writer.

        Were it given up before, a busy daemon might see it only after what this client does next.
        """
        target = self.book.place.upload(session.upload_id)
        if method == "PUT":
            target += f"?digest={session.content.digest}"
        await exchange.head(method, target, {**fields, "Expect": "100-continue"})
        await exchange.invited()

    async def status(self, session: Session) -> Answer:
        return await self.site.ask(
            self.book.place, "GET", self.book.place.upload(session.upload_id)
        )

    def some_bytes(self, session: Session) -> int:
        return self.choice.randint(2, max(len(session.left), 2))

    async def pour(
        self, exchange: Exchange, data: memoryview, *, chunked: bool, end: bool = True
    ) -> None:
        """Send a body, in a hurry or not, as long as it is taken."""
        self.site.sent_bytes += len(data)
        pause_s = self.choice.choice([0.0, 0.0, 0.001, 0.01])
        step = _CHUNK_BYTES if chunked or pause_s else max(len(data), 1)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            if not await (exchange.chunk(piece) if chunked else exchange.send(piece)):
                return
            if pause_s and self.choice.random() < 0.2:
                await asyncio.sleep(pause_s)
        if chunked and end:
            await exchange.chunk(b"")


def _catch_up(session: Session, answer: Answer) -> None:
    """Go on from where a 416 says; right only where a request that broke off was saved late."""
    expect(answer, 416)
    assert session.unsettled, f"{session} got {answer}"
    assert session.offset < answer.offset <= session.sent, f"{session} got {answer}"
    session.offset = answer.offset


def expect(answer: Answer, status: int) -> None:
    """Check an answer's status, and show the answer where it is another."""
    assert answer.status == status, f"{status} was due, not {answer}"


def framing(body: memoryview, *, chunked: bool) -> dict[str, str | int]:
    if chunked:
        return {"Transfer-Encoding": "chunked"}
    return {"Content-Length": len(body)}


def span_of(session: Session, piece: memoryview) -> dict[str, str | int]:
    return {"Content-Range": f"{session.offset}-{session.offset + len(piece) - 1}"}
