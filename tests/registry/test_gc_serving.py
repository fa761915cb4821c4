"""Garbage collection in two serving daemons, beside clients that push, mount and delete."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.daemon import Daemon
from tests.registry.acts import image, url_of
from tests.registry.protocol import Registry, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.database.opening import Server

CLIENTS = 3
STEPS = 50
BLOBS = {digest_of(data): data for data in (bytes([number]) * 3000 for number in range(5))}
SETTINGS = {"store.durability": "none", "upkeep.gc_interval_s": "0.02"}


class Client:
    """One repository's user, talking to either daemon, who trusts neither."""

    def __init__(self, number: int, daemons: list[Daemon]) -> None:
        self._random = random.Random(number)
        self._daemons = [Registry(daemon.registry) for daemon in daemons]
        self.name = f"race/number{number}"
        self._others = [f"race/number{n}" for n in range(CLIENTS) if n != number]
        self.held: set[str] = set()
        self._named: set[str] = set()

    def run(self) -> None:
        for _ in range(STEPS):
            self._step()
            self._check()

    @property
    def _daemon(self) -> Registry:
        return self._random.choice(self._daemons)

    def _step(self) -> None:
        digest = self._random.choice(sorted(BLOBS))
        match self._random.randrange(6):
            case 0 | 1:
                assert self._daemon.push(self.name, BLOBS[digest]) == digest
                self.held.add(digest)
            case 2:
                source = self._random.choice(["", f"&from={self._random.choice(self._others)}"])
                if self._daemon.start(self.name, f"?mount={digest}{source}").status == 201:
                    self.held.add(digest)
            case 3 | 4:
                self._delete(digest)
            case _:
                answer = self._daemon.put_manifest(self.name, "v1", image(digest))
                assert answer.status == (201 if digest in self.held else 400)
                self._named |= {digest} & self.held

    def _delete(self, digest: str) -> None:
        """Delete a blob, mostly after the manifest that names it."""
        if digest in self._named and self._random.random() < 0.7:
            manifest = digest_of(image(digest))
            assert self._daemon.delete(f"/v2/{self.name}/manifests/{manifest}").status == 202
            self._named.discard(digest)
        answer = self._daemon.delete(f"/v2/{self.name}/blobs/{digest}")
        if digest in self._named:
            assert answer.status == 405
        else:
            assert answer.status == (202 if digest in self.held else 404)
            self.held.discard(digest)

    def _check(self) -> None:
        for digest, data in BLOBS.items():
            answer = self._daemon.get(f"/v2/{self.name}/blobs/{digest}")
            if digest in self.held:
                assert answer.status == 200
                assert answer.body == data
            else:
                assert answer.status == 404


def test_nothing_held_is_lost_and_nothing_unheld_is_left(
    tmp_path: Path, place: Path | Server
) -> None:
    """Promise 11, over HTTP: collections run all the time in both daemons and by command."""
    data = tmp_path / "data"
    settings = SETTINGS | {"catalog.url": url_of(place)}
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(data, settings=settings)) for _ in range(2)]
        clients = [Client(number, daemons) for number in range(CLIENTS)]
        threads = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        running = [threads.submit(client.run) for client in clients]
        while not all(client.done() for client in running):
            _collect(data, place)
        for client_run in running:
            client_run.result()
        assert sum(daemon.metric("blobd_collected_blobs_total") for daemon in daemons) > 0
        _collect(data, place)
        held = {digest for client in clients for digest in client.held}
        files = {f"sha256:{path.name}" for path in (data / "blobs" / "sha256").glob("*/*")}
        assert files == held


def _collect(data: Path, place: Path | Server) -> None:
    url = f"--set=catalog.url={url_of(place)}"
    command = [sys.executable, "-m", "blobd", "gc", f"--data={data}", url]
    subprocess.run(command, check=True, capture_output=True)
