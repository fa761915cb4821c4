"""A client that does one thing after another, by a seed, until a daemon dies or it is time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.crash.contents import Content, some_content
from tests.crash.exchange import Lost
from tests.crash.images import Images
from tests.crash.ledger import Place, State
from tests.crash.mishaps import Mishaps
from tests.crash.uploading import Uploader, expect

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.crash.ledger import Book, Ledger, Session
    from tests.crash.site import Site

_OPEN_MAX = 6
_HELD_MAX = 40


@dataclass(slots=True)
class Client:
    """One pusher and puller. `shared` are contents that other places are pushed too."""

    site: Site
    ledger: Ledger
    book: Book
    choice: random.Random
    shared: list[Content] = field(default_factory=list)
    acts: int = 0
    lost: int = 0
    """Acts that a kill cut short."""

    async def live(self) -> None:
        """Act until the site is over, outliving every daemon but the last."""
        while not self.site.over:
            try:
                await self._act()
                self.acts += 1
            except Lost:
                self.lost += 1
                if not any(node.up for node in self.site.nodes):
                    return

    @property
    def uploader(self) -> Uploader:
        return Uploader(self.site, self.ledger, self.book, self.choice)

    @property
    def images(self) -> Images:
        return Images(self.site, self.ledger, self.book, self.choice)

    async def _act(self) -> None:
        held = self.book.held()
        acts: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (4, self._push_at_once),
            (4, self._read),
            (1, self._probe),
        ]
        if len(self.book.sessions) < _OPEN_MAX:
            acts.append((6, self._begin))
        if self.book.sessions:
            acts.append((8, self._carry_on))
        if held:
            acts.append((6 if len(held) > _HELD_MAX else 1, self._delete_blob))
        if self.book.place.repository:
            acts.append((3, self._mount))
            if held:
                acts.append((3, self.images.push_image))
            acts.append((1, self._delete_manifest))
        weights = [weight for weight, _ in acts]
        await self.choice.choices([act for _, act in acts], weights)[0]()

    def _busy(self) -> set[str]:
        """Return what uploads are open for: nothing else is done about these."""
        return {session.content.digest for session in self.book.sessions}

    def _content(self) -> Content:
        """Return something new, or what is not held here: shared, or once deleted."""
        missing = [
            content
            for content in (*self.shared, *self.book.contents.values())
            if self.book.blobs[content.digest].state is not State.HELD
            and content.digest not in self._busy()
        ]
        if missing and self.choice.random() < 0.4:
            return self.choice.choice(missing)
        return some_content(self.choice, f"{self.book.name} {self.choice.random()}")

    async def _push_at_once(self) -> None:
        content = self._content()
        if content.size_bytes:
            await self.uploader.push_at_once(content)

    async def _begin(self) -> None:
        await self._steps(await self.uploader.start(self._content()))

    async def _carry_on(self) -> None:
        session = self.choice.choice(self.book.sessions)
        if await self.uploader.settle(session):
            await self._steps(session)

    async def _steps(self, session: Session) -> None:
        """Take some steps with an upload, and end it or leave it for later."""
        uploader = self.uploader
        mishaps = Mishaps(uploader)
        for _ in range(self.choice.randint(1, 4)):
            steps: list[tuple[int, Callable[[Session], Awaitable[object]]]] = [
                (6, uploader.finish),
                (1, uploader.cancel),
            ]
            if session.left and session.content.algorithm != "blake3":
                steps.append((6, self._append))
                if not session.unsettled:
                    steps += [
                        (1, mishaps.break_off),
                        (1, mishaps.overtake),
                        (1, mishaps.misplace),
                        (1, mishaps.contradict),
                    ]
            if session.left and not session.unsettled:
                steps.append((1, mishaps.break_off_finish))
            if not session.unsettled:
                steps.append((1, mishaps.mistake))
            weights = [weight for weight, _ in steps]
            await self.choice.choices([step for _, step in steps], weights)[0](session)
            if session not in self.book.sessions:
                return

    async def _append(self, session: Session) -> None:
        await self.uploader.append(session, self.choice.randint(2, max(len(session.left), 2)))

    async def _probe(self) -> None:
        expect(await self.site.ask(Place(), "GET", "/readyz", kind="get"), 200)

    async def _read(self) -> None:
        books = [book for book in self.ledger.books if book.contents]
        if books:
            book = self.choice.choice(books)
            await self.images.read(book, self.choice.choice(list(book.contents)))

    async def _delete_blob(self) -> None:
        idle = [digest for digest in self.book.held() if digest not in self._busy()]
        if idle:
            await self.images.delete_blob(self.choice.choice(idle))

    async def _mount(self) -> None:
        others = [
            (book, digest)
            for book in self.ledger.books
            if book.place.repository and book is not self.book
            for digest in book.held()
            if digest not in self._busy()
        ]
        if others:
            await self.images.mount(*self.choice.choice(others))

    async def _delete_manifest(self) -> None:
        tags = [tag for tag, possible in self.book.tags.items() if None not in possible]
        manifests = self.book.held_manifests()
        if tags and self.choice.random() < 0.5:
            await self.images.delete_tag(self.choice.choice(tags))
        elif manifests:
            await self.images.delete_manifest(self.choice.choice(manifests))
