"""What goes wrong with uploads: clients that vanish, stall, misplace, contradict, mistake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.contents import Content
from tests.crash.ledger import Doing
from tests.crash.uploading import expect, framing, span_of

if TYPE_CHECKING:
    from tests.crash.ledger import Session
    from tests.crash.uploading import Uploader

_TOO_MUCH_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Mishaps:
    """One client's ways to fail. Every method may raise Lost, when a daemon was killed."""

    hand: Uploader

    async def break_off(self, session: Session) -> None:
        """Vanish in the middle of a PATCH: what arrived may stay."""
        piece = session.left[: self.hand.some_bytes(session)]
        sent = piece[: self.hand.choice.randint(0, len(piece) - 1) & ~1]
        chunked = self.hand.choice.random() < 0.5
        async with self.hand.site.visit(self.hand.book.place) as exchange:
            session.sent, session.unsettled = session.offset + len(sent), True
            await self.hand.write(exchange, "PATCH", session, framing(piece, chunked=chunked))
            await self.hand.pour(exchange, sent, chunked=chunked, end=False)
            if self.hand.choice.random() < 0.5:
                exchange.vanish()
        await self.hand.settle(session)

    async def break_off_finish(self, session: Session) -> None:
        """Vanish in the middle of a PUT of too much of the wrong: as if it had never been."""
        body = self._rubbish(session)
        chunked = self.hand.choice.random() < 0.5
        async with self.hand.site.visit(self.hand.book.place) as exchange:
            await self.hand.write(exchange, "PUT", session, framing(body, chunked=chunked))
            some = self.hand.choice.randint(0, len(body) - 1)
            await self.hand.pour(exchange, body[:some], chunked=chunked, end=False)
            if self.hand.choice.random() < 0.5:
                exchange.vanish()
        await self.hand.settle(session)

    async def overtake(self, session: Session) -> None:
        """Stall in a PATCH, come back on another connection, and try to write on the first."""
        piece = session.left[: self.hand.some_bytes(session)]
        half = len(piece) // 2 & ~1
        chunked = self.hand.choice.random() < 0.5
        async with self.hand.site.visit(self.hand.book.place) as stalled:
            session.sent, session.unsettled = session.offset + half, True
            await self.hand.write(stalled, "PATCH", session, framing(piece, chunked=chunked))
            await self.hand.pour(stalled, piece[:half], chunked=chunked, end=False)
            await self.hand.settle(session)
            least = session.offset
            await self.hand.append(session, self.hand.some_bytes(session))
            await self.hand.pour(stalled, piece[half:], chunked=chunked)
            answer = await stalled.answer()
        expect(answer, 416)
        assert least <= answer.offset <= session.offset

    async def misplace(self, session: Session) -> None:
        """PATCH elsewhere than at the end: refused, and the upload as it was."""
        piece = session.left[: self.hand.some_bytes(session)]
        start = session.offset + self.hand.choice.randint(1, 1000)
        answer = await self.hand.site.ask(
            self.hand.book.place,
            "PATCH",
            self.hand.book.place.upload(session.upload_id),
            headers={"Content-Range": f"{start}-{start + len(piece) - 1}"},
            body=piece,
        )
        expect(answer, 416)
        assert answer.offset == session.offset

    async def contradict(self, session: Session) -> None:
        """Send less than the Content-Range said: that request is undone."""
        piece = self._rubbish(session)
        async with self.hand.site.visit(self.hand.book.place) as exchange:
            await exchange.head(
                "PATCH",
                self.hand.book.place.upload(session.upload_id),
                framing(piece, chunked=True) | span_of(session, piece),
            )
            await self.hand.pour(exchange, piece[:-1], chunked=True)
            answer = await exchange.answer()
        expect(answer, 400)
        assert answer.code == "SIZE_INVALID"
        await self.hand.settle(session)

    async def mistake(self, session: Session) -> None:
        """PUT under a digest of other bytes: nothing becomes visible."""
        body = self._rubbish(session) if session.left else session.left
        other = Content(f"not {session.content.recipe}", 100, session.content.algorithm).digest
        if not body:
            session.doing = Doing.CANCELLING
        answer = await self.hand.put(session, body, other)
        expect(answer, 400)
        assert answer.code == "DIGEST_INVALID"
        place = self.hand.book.place
        expect(await self.hand.site.ask(place, "GET", place.blob(other)), 404)
        if body:
            await self.hand.settle(session)
        else:
            self.hand.book.sessions.remove(session)
            expect(await self.hand.status(session), 404)

    def _rubbish(self, session: Session) -> memoryview:
        """Return what must not stay: other bytes than are missing, and more of them."""
        size_bytes = len(session.left) + self.hand.choice.randint(2, _TOO_MUCH_BYTES)
        return memoryview(b"rubbish!" * (size_bytes // 8 + 1))[:size_bytes]
