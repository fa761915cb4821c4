"""The relay: on a thread of its own, request by request, with faults where they were planned."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from tests.relay.connection import Connection, Cut, Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.relay.faults import Fault

_STEPS_TO_BEGIN = 5
_START_WITHIN_S = 20
_BROKEN = (ConnectionError, EOFError, Cut)


class Relay:
    """Passes requests on, as a context manager; to several servers in turn, request by request.

    Its methods are called on any thread but its own.
    """

    def __init__(self, *servers: str) -> None:
        """Prepare to pass on to these, each host:port."""
        self._turn = itertools.cycle(servers)
        self._faults: list[Fault] = []
        self._passages: list[Passage] = []
        self._connections: set[Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._server: asyncio.Server
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "127.0.0.1:%d" % self._socket.getsockname()[1]  # noqa: UP031

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(_START_WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        for fault in self._faults:
            fault.release()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def plan(self, fault: Fault) -> Fault:
        """Let something go wrong from now on; return it. An earlier plan goes first."""
        self._faults.append(fault)
        return fault

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within: all connections are reset, and new ones refused, as of a server that is down."""
        asyncio.run_coroutine_threadsafe(self._go(), self._loop).result(_START_WITHIN_S)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_WITHIN_S)

    def cut(self) -> None:
        """Reset all connections."""
        self._call(self._cut)

    def passages(self, operation: str = "") -> list[Passage]:
        """Return the requests seen so far, in the order of their heads."""
        return [one for one in self._passages if operation in ("", one.operation)]

    def forget(self) -> None:
        """Remember no request, and plan nothing."""
        self._passages.clear()
        self._faults.clear()

    # On the thread

    def _note(self, passage: Passage) -> Fault | None:
        """Remember a request; return what is to happen to it."""
        self._passages.append(passage)
        return next((one for one in self._faults if one.takes(passage.operation)), None)

    def _call(self, act: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(_START_WITHIN_S)

    def _cut(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    def _leave(self) -> None:
        self._server.close()
        self._cut()

    async def _go(self) -> None:
        """Leave once the connections accepted by now have begun.

        asyncio drops the transport of one that it accepted just before its server closed.
        """
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(_STEPS_TO_BEGIN):
            await asyncio.sleep(0)
        self._leave()

    async def _listen(self) -> None:
        if self._socket.fileno() < 0:
            host, _, port = self.address.rpartition(":")
            self._socket = socket.create_server((host, int(port)), backlog=256)
        self._server = await asyncio.start_server(self._serve, sock=self._socket)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._listening.set()
        self._loop.run_forever()
        self._leave()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._note, lambda: next(self._turn))
        self._connections.add(connection)
        try:
            await connection.serve()
        except* _BROKEN:
            connection.reset()
        except* asyncio.CancelledError:
            """The relay ends; a cancelled task would be an error to whoever accepted it."""
        finally:
            self._connections.discard(connection)
            connection.close()
