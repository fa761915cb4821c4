"""Lives: some rounds of load and sudden death on one data folder, and an orderly end.

    round   clients act at random → a blow falls → what died is started again → all is checked
    end     a round without a blow → SIGTERM → everything is let go of → nothing is left, but
            what a crash pinned, and that neither once its pins have lapsed

Everything random comes from the life's seed; what the kernel does in between does not.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blobd.backends.filesystem.backend import Filesystem
from blobd.database import open_catalog
from blobd.metrics import Metrics
from blobd.references.collection import collect
from blobd.store import BlobStore
from tests.backends.acts import off_loop
from tests.crash.checks import Checks
from tests.crash.client import Client
from tests.crash.contents import Content
from tests.crash.folders import MEMORY, memory_folder
from tests.crash.ledger import Book, Ledger, Place
from tests.crash.patience import until
from tests.crash.site import Blow, Site
from tests.registry.acts import roots_of

if TYPE_CHECKING:
    from pathlib import Path

_ROUNDS_PER_LIFE = 8
_SHAPES = ((1, 1), (2, 1), (1, 2), (2, 1))
"""Daemons, and workers of each, of the lives in turn."""
_API_CLIENTS = 3
_REPOSITORIES = 4
_ROUND_WITHIN_S = 120
_NOBODY = Blow("nobody", kind="", count=0, delay_s=0, at_latest_s=1)
_LONG_AFTER_S = 30 * 86_400
_KINDS = ("post", "put", "put", "patch", "delete", "mount", "manifest", "get")
_SETTINGS = {"upkeep.gc_interval_s": "0.2", "upkeep.expire_interval_s": "0.3"}
_SWEEPING = {
    "limits.upload_idle_expiry_s": "1",
    "upkeep.receipt_lifetime_s": "0",
    "upkeep.expire_interval_s": "0.1",
}


@dataclass(slots=True)
class Figures:
    """What was done."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    acts: int = 0
    requests: int = 0
    sent_bytes: int = 0
    resumed_bytes: int = 0
    lost: int = 0
    """Acts that a kill cut short."""

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {victims}" for victims, count in sorted(self.kills.items()))
        return (
            f"{self.rounds} rounds; killed: {kills}; {self.acts} acts, {self.requests} requests, "
            f"{self.sent_bytes / 1e6:.0f} MB sent, {self.resumed_bytes / 1e6:.0f} MB of uploads "
            f"resumed, {self.lost} acts cut short"
        )


class Life:
    """One data folder's."""

    def __init__(
        self, seed: int, data: Path, figures: Figures, *, daemons: int = 1, workers: int = 1
    ) -> None:
        self._choice = random.Random(seed)
        self._seed = seed
        self._data = data
        self._figures = figures
        self._victims = ["all"]
        if daemons > 1:
            self._victims.append("one")
        if workers > 1:
            self._victims.append("worker")
        budget_bytes = self._choice.choice([1, 8, 64]) * 1024 * 1024 * workers
        settings = {
            "server.workers": str(workers),
            "limits.bytes_in_flight_max_bytes": str(budget_bytes),
            **_SETTINGS,
        }
        self._site = Site(data, settings, self._choice, daemons=daemons)
        books = [Book(Place(), f"api{number}") for number in range(_API_CLIENTS)]
        books += [
            Book(Place(f"crash/number{number}"), f"repository{number}")
            for number in range(_REPOSITORIES)
        ]
        self._ledger = Ledger(books)
        self._shared = [Content(f"{seed} shared {n}", 30_000 * 4**n) for n in range(5)]

    async def run(self, rounds: int) -> None:
        """Live that many rounds and end. Raises AssertionError where a promise is broken."""
        try:
            for number in range(rounds):
                blow = self._some_blow()
                await self._round(number, blow)
                self._figures.rounds += 1
                self._figures.kills[blow.victims] += 1
            await self._round(rounds, _NOBODY)
            await off_loop(self._site.stop)
            self._note()
            await self._end()
        finally:
            self._site.kill()

    async def _round(self, number: int, blow: Blow) -> None:
        await off_loop(self._site.start)
        self._site.condemn(blow)
        clients = [self._client(number, book) for book in self._ledger.books]
        async with asyncio.timeout(_ROUND_WITHIN_S), asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.live())
        self._figures.acts += sum(client.acts for client in clients)
        self._figures.lost += sum(client.lost for client in clients)
        await off_loop(self._site.start)
        checks = Checks(self._site, self._ledger, random.Random(f"{self._seed} {number} checks"))
        async with asyncio.timeout(_ROUND_WITHIN_S):
            self._figures.resumed_bytes += await checks.after_restart(finish=0.7)

    def _client(self, number: int, book: Book) -> Client:
        shared = self._shared if book.place.repository or book.name == "api0" else []
        choice = random.Random(f"{self._seed} {number} {book.name}")
        return Client(self._site, self._ledger, book, choice, list(shared))

    def _some_blow(self) -> Blow:
        return Blow(
            victims=self._choice.choice(self._victims),
            kind=self._choice.choice(_KINDS),
            count=self._choice.randint(1, 25),
            delay_s=self._choice.choice([0, 0.0005, 0.002, 0.005]),
            at_latest_s=self._choice.uniform(0.1, 1.5),
        )

    def _note(self) -> None:
        self._figures.requests += self._site.requests
        self._figures.sent_bytes += self._site.sent_bytes

    async def _end(self) -> None:
        """Let go of everything, and see that everything goes."""
        sweeper = Site(self._data, _SETTINGS | _SWEEPING, self._choice)
        await off_loop(sweeper.start)
        try:
            for book in self._ledger.books:
                for digest in book.documents:
                    answer = await sweeper.ask(book.place, "DELETE", book.place.manifest(digest))
                    assert answer.status in (202, 404), answer
                for digest in book.contents:
                    answer = await sweeper.ask(book.place, "DELETE", book.place.blob(digest))
                    assert answer.status in (202, 404), answer
            await until(lambda: not sweeper.upload_folders())
            await off_loop(sweeper.stop)
        finally:
            sweeper.kill()
        await self._collect_long_after()
        left = {path.name for path in self._data.iterdir()} - {"blobs", "uploads", "quarantine"}
        assert all(name.startswith("catalog.sqlite") for name in left), left
        bytes_left = {
            path.relative_to(self._data).as_posix()
            for folder in ("blobs", "quarantine")
            for path in (self._data / folder).rglob("*")
            if not path.is_dir()
        }
        assert bytes_left == {"blobs/store.id"}

    async def _collect_long_after(self) -> None:
        """Collect garbage when the pins that crashes left behind have lapsed."""
        backend = await off_loop(Filesystem, self._data, durable=False)
        store = BlobStore(backend, Metrics())

        def clock() -> float:
            return time.time() + _LONG_AFTER_S

        path = self._data / "catalog.sqlite"
        async with open_catalog(path, durable=False, clock=clock) as catalog:
            roots = roots_of(catalog, unnamed_link_grace_s=86_400)
            async for verdict in collect(roots, store, Metrics(), dry_run=False):
                assert verdict.goes, verdict
        await backend.aclose()
        with closing(sqlite3.connect(path)) as database:
            for table in ("blobs", "links", "pins", "api_holds"):
                rows = database.execute(f"SELECT * FROM {table}").fetchall()
                assert not rows, f"{table} still has {rows}"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def live_on(seed: int, rounds: int, *, folder: Path = MEMORY) -> Figures:
    """Live one life after another, of seeds that count up, for so many rounds in all."""
    figures = Figures()
    while figures.rounds < rounds:
        daemons, workers = _SHAPES[seed % len(_SHAPES)]
        some = min(_ROUNDS_PER_LIFE, rounds - figures.rounds)
        say(
            f"seed {seed}: {some} rounds with {daemons} daemons of {workers} workers "
            f"(again: --seed {seed} --rounds {some})"
        )
        with memory_folder(folder) as made:
            life = Life(seed, made / "data", figures, daemons=daemons, workers=workers)
            asyncio.run(life.run(some))
        seed += 1
    return figures
