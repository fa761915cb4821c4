"""What tests run in processes of their own: `python -m tests.registry.workers VERB FOLDER URL …`.

A worker writes a line when it is ready, waits for one, and then works.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from blobd.api.holds import ApiHolder
from blobd.backends.filesystem.backend import Filesystem
from blobd.database import open_catalog
from blobd.errors import BlobNotFound
from blobd.metrics import Metrics
from blobd.references.collection import collect
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.links import RepositoryHolder, mount
from blobd.registry.names import RepositoryName
from blobd.store import BlobStore
from tests.backends.acts import digest_of, fetch
from tests.registry.acts import REFERENCES, place_of, push, push_as, roots_of

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.database.opening import Server
    from blobd.digest import Digest

SHARED = [bytes([number]) * 5000 for number in range(6)]


def say(*words: object) -> None:
    """Write one line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def wait_for_the_start() -> None:
    say("ready")
    sys.stdin.readline()


async def open_at_once(place: Path | Server) -> None:
    """Open the catalog when told to."""
    wait_for_the_start()
    async with open_catalog(place, durable=False):
        say("opened")


async def push_for_ever(folder: Path, place: Path | Server) -> None:
    """Push blobs, saying which ones are linked for good; to be killed."""
    backend = Filesystem(folder, durable=False)
    store = BlobStore(backend, Metrics())
    async with open_catalog(place, durable=True) as catalog:
        wait_for_the_start()
        number = 0
        while True:
            number += 1
            say(await push(catalog, store, b"%d %d" % (os.getpid(), number)))


class Pusher:
    """Pushes, mounts and deletes shared blobs in a repository of its own, and looks at them."""

    def __init__(self, catalog: Catalog, store: BlobStore, seed: int) -> None:
        self._catalog = catalog
        self._store = store
        self._random = random.Random(seed)
        self._own = RepositoryName(f"race/number{seed}")
        self._others = [RepositoryName(f"race/number{n}") for n in range(3) if n != seed]
        self._holder = RepositoryHolder(catalog, self._own)
        self._api = ApiHolder(catalog, REFERENCES, store)
        self.holds: dict[Digest, bytes] = {}

    async def act(self) -> None:
        """Do one thing and check that what this repository holds can be read (promise 11)."""
        data = self._random.choice(SHARED)
        digest = digest_of(data)
        match self._random.randrange(7):
            case 0 | 1:
                await push(self._catalog, self._store, data, self._own)
                self.holds[digest] = data
            case 2:
                source = self._random.choice([*self._others, None])
                if await mount(
                    self._catalog, digest, into=self._own, source=source, subject=EVERYONE
                ):
                    self.holds[digest] = data
            case 3 | 4:
                if self.holds.pop(digest, None) is not None:
                    await self._holder.release(digest)
            case 5:  # so often that all repositories at once hold none of some blob
                while self.holds:
                    await self._holder.release(self.holds.popitem()[0])
            case _:
                await push_as(self._api, self._store, data)
                with suppress(BlobNotFound):  # another process has released the API's one hold
                    await self._api.release(digest)
        await self.check()

    async def check(self) -> None:
        for digest, data in self.holds.items():
            if await fetch(self._store.backend, digest) != data:
                raise AssertionError(f"{digest} reads back as something else")


async def race(folder: Path, place: Path | Server, seed: int, rounds: int) -> None:
    """Push, mount and delete beside others; then say what is held."""
    backend = Filesystem(folder, durable=False)
    store = BlobStore(backend, Metrics())
    async with open_catalog(place, durable=False) as catalog:
        pusher = Pusher(catalog, store, seed)
        wait_for_the_start()
        for _ in range(rounds):
            await pusher.act()
        for digest in pusher.holds:
            say(digest)
    await backend.aclose()


async def collect_for_ever(folder: Path, place: Path | Server) -> None:
    """Collect garbage again and again, until standard input ends; then say how much went."""
    backend = Filesystem(folder, durable=False)
    store = BlobStore(backend, Metrics())
    went = 0
    async with open_catalog(place, durable=False) as catalog:
        roots = roots_of(catalog, unnamed_link_grace_s=86_400)
        wait_for_the_start()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), ended.set)
        while not ended.is_set():
            async for verdict in collect(roots, store, Metrics(), dry_run=False):
                went += verdict.goes
            await asyncio.sleep(0)
        say(went)
    await backend.aclose()


def main() -> None:
    verb, folder, place = sys.argv[1], Path(sys.argv[2]), place_of(sys.argv[3])
    numbers = [int(argument) for argument in sys.argv[4:]]
    match verb:
        case "open":
            uvloop.run(open_at_once(place))
        case "push":
            uvloop.run(push_for_ever(folder, place))
        case "race":
            uvloop.run(race(folder, place, *numbers))
        case "collect":
            uvloop.run(collect_for_ever(folder, place))
        case _:
            raise SystemExit(f"no such verb: {verb}")


if __name__ == "__main__":
    main()
