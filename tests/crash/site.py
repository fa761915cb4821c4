"""The daemons on one folder, and the moment at which one of them dies."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.exchange import Answer, Exchange, Lost
from tests.daemon import Daemon

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Mapping

    from tests.crash.ledger import Place

_TROUBLE = ("Traceback (most recent", "was never awaited", "never retrieved")


@dataclass(slots=True)
class Node:
    """One daemon. `deaths` counts what may have cut its connections."""

    daemon: Daemon
    up: bool = False
    deaths: int = 0

    def address(self, place: Place) -> str:
        url = self.daemon.registry_url if place.repository else self.daemon.blob_api_url
        return url.removeprefix("http://")


@dataclass(frozen=True, slots=True)
class Blow:
    """Who is killed, and when: after some requests of one kind were sent whole, or some time."""

    victims: str
    """`all`, `one` daemon, one `worker` process, or `nobody`: then clients just stop."""
    kind: str
    count: int
    delay_s: float
    at_latest_s: float


@dataclass(slots=True)
class Site:
    """Up to a few `blobd serve` on one data folder."""

    data: Path
    settings: Mapping[str, str]
    choice: random.Random
    daemons: int = 1
    nodes: list[Node] = field(init=False)
    over: bool = False
    """Whether clients should stop: set some time after a blow."""
    requests: int = 0
    sent_bytes: int = 0
    _blow: Blow | None = None
    _seen: int = 0

    def __post_init__(self) -> None:
        self.nodes = [Node(Daemon(self.data, settings=self.settings)) for _ in range(self.daemons)]

    # Life

    def start(self) -> None:
        """Start what is down. Blocks."""
        for node in self.nodes:
            if not node.up:
                node.daemon.start()
                node.up = True

    def stop(self) -> None:
        """Stop in order what is up; each must end well. Blocks."""
        for node in self.nodes:
            if node.up:
                node.daemon.stop()
                node.up = False

    def kill(self) -> None:
        for node in self.nodes:
            if node.up:
                self._kill(node)

    def condemn(self, blow: Blow) -> None:
        """Strike when it is time; then `over` is set, at once if nobody is left."""
        self.over, self._blow, self._seen = False, blow, 0
        asyncio.get_running_loop().call_later(blow.at_latest_s, self._strike, blow)

    def reached(self, kind: str) -> None:
        """A client tells that it has sent a request of this kind whole."""
        blow = self._blow
        if blow is None or kind != blow.kind:
            return
        self._seen += 1
        if self._seen != blow.count:
            return
        if blow.delay_s == 0:
            self._strike(blow)
        else:
            asyncio.get_running_loop().call_later(blow.delay_s, self._strike, blow)

    def _strike(self, blow: Blow) -> None:
        if self._blow is not blow:
            return
        self._blow = None
        if blow.victims in ("all", "nobody"):
            if blow.victims == "all":
                self.kill()
            self.over = True
            return
        victim = self.choice.choice(self.nodes)
        if blow.victims == "one":
            self._kill(victim)
        else:
            victim.deaths += 1
            os.kill(self.choice.choice(victim.daemon.pids()[1:]), signal.SIGKILL)
        asyncio.get_running_loop().call_later(self.choice.uniform(0.2, 0.6), self._end)

    def _end(self) -> None:
        self.over = True

    def _kill(self, node: Node) -> None:
        node.deaths += 1
        node.up = False
        node.daemon.kill()
        self.check_log(node)

    # Talking

    @asynccontextmanager
    async def visit(self, place: Place) -> AsyncIterator[Exchange]:
        """Connect to any daemon that is up. Raises Lost only when it was killed meanwhile."""
        alive = [node for node in self.nodes if node.up]
        if not alive:
            raise Lost
        node = self.choice.choice(alive)
        deaths = node.deaths
        self.requests += 1
        try:
            async with Exchange(node.address(place)) as exchange:
                yield exchange
        except Lost as error:
            if node.deaths == deaths and not error.excused:
                raise AssertionError("the connection broke although the daemon lives") from error
            error.excused = True
            raise

    async def ask(
        self,
        place: Place,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str | int] | None = None,
        body: bytes | memoryview | None = None,
        kind: str = "",
    ) -> Answer:
        """Make a whole request; `kind` names the moment at which it has been sent."""
        length: dict[str, str | int] = {} if body is None else {"Content-Length": len(body)}
        async with self.visit(place) as exchange:
            await exchange.head(method, target, length | dict(headers or {}))
            if body:
                self.sent_bytes += len(body)
                await exchange.send(body)
            self.reached(kind)
            return await exchange.answer(bodiless=method == "HEAD")

    # Looking

    def metric(self, name: str) -> float:
        """Return a metric, added up over the daemons."""
        return sum(node.daemon.metric(name) for node in self.nodes)

    def open_files(self) -> list[str]:
        """Return the blobs and staged files that the daemons have open."""
        inside = (f"{self.data}/blobs/", f"{self.data}/uploads/")
        return [
            name
            for node in self.nodes
            for name in node.daemon.open_files()
            if name.startswith(inside)
        ]

    def upload_folders(self) -> dict[str, set[str]]:
        """Return what is in `uploads/`, and what is in each; all are folders."""
        root = self.data / "uploads"
        return {path.name: {inner.name for inner in path.iterdir()} for path in root.iterdir()}

    def check_log(self, node: Node) -> None:
        """Check what a killed daemon has written: nothing may have surprised it."""
        log = node.daemon.stderr
        assert not any(sign in log for sign in _TROUBLE), f"the daemon's log has trouble:\n{log}"


def read_bytes(daemon: Daemon) -> int:
    """Return the bytes that a daemon's processes have read so far (rchar of proc(5))."""
    total = 0
    for pid in daemon.pids():
        facts = Path(f"/proc/{pid}/io").read_text().splitlines()
        total += sum(int(fact.split()[1]) for fact in facts if fact.startswith("rchar:"))
    return total
