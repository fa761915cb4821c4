"""One client's connection through the relay."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from tests.relay.faults import Instead, Pause
from tests.relay.heads import read_body, read_head
from tests.relay.operations import bucket_and_key, operation_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.relay.faults import Fault
    from tests.relay.heads import Head

_LOOK_S = 0.005


@dataclass(slots=True)
class Passage:
    """A request that came by."""

    method: str
    target: str
    operation: str
    key: str
    server: str
    """Who got it: host:port."""
    body_bytes: int = 0
    """Of its body, as far as it was passed on."""
    body_sha256: str = ""
    """Of its body, once all of it was passed on."""
    status: int | None = None
    """What the client was answered, if it was."""
    answer_bytes: int = 0
    """Of the answer, its head included, as far as it was passed on."""
    ranges: int = 0
    """How many its Range header lists."""


class Cut(Exception):
    """Both sides of a connection are to end."""


class Connection:
    """One client's, with a connection to each server that its requests have gone to."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Callable[[Passage], Fault | None],
        next_server: Callable[[], str],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._note = note
        self._next_server = next_server
        self._servers: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def serve(self) -> None:
        """Pass on one request after another."""
        while (head := await read_head(self._reader)) is not None:
            passage = Passage(
                head.words[0],
                head.words[1],
                operation_of(*head.words[:2]),
                bucket_and_key(head.words[1])[1],
                self._next_server(),
                ranges=_ranges_in(head),
            )
            fault = self._note(passage)
            if not await self._exchange(head, passage, fault) or head.ends_connection:
                return

    async def _exchange(self, head: Head, passage: Passage, fault: Fault | None) -> bool:
        """Return whether the connection can go on."""
        if fault and fault.is_at_once and not await self._suffer(fault, head, passage):
            return False
        reader, writer = await self._server(passage.server)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send(writer, head, passage, fault))
            goes_on = await self._answer(reader, head, passage, fault)
            await asyncio.wait([sending], timeout=_LOOK_S)
            if not sending.done():  # an early answer, to a body that is still coming
                sending.cancel()
                goes_on = False
        return goes_on

    async def _server(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to a server; a new one, where it has closed the last."""
        known = self._servers.get(address)
        if known is None or known[0].at_eof():
            if known is not None:
                known[1].close()
            host, _, port = address.rpartition(":")
            self._servers[address] = await asyncio.open_connection(host, int(port))
        return self._servers[address]

    async def _send(
        self, writer: asyncio.StreamWriter, head: Head, passage: Passage, fault: Fault | None
    ) -> None:
        writer.write(head.raw)
        limit = fault.at_request_byte if fault else None
        hashed = sha256()
        async for piece in read_body(self._reader, head, until_end=False):
            hashed.update(piece)
            passing = piece
            if fault and limit is not None and passage.body_bytes + len(piece) > limit:
                first = piece[: limit - passage.body_bytes]
                writer.write(first)
                await writer.drain()
                passage.body_bytes += len(first)
                passing, limit = piece[len(first) :], None
                if not await self._suffer(fault, head, passage):
                    raise Cut
            writer.write(passing)
            await writer.drain()
            passage.body_bytes += len(passing)
        passage.body_sha256 = hashed.hexdigest()

    async def _answer(
        self, reader: asyncio.StreamReader, head: Head, passage: Passage, fault: Fault | None
    ) -> bool:
        while (answer := await read_head(reader)) is not None and answer.is_interim:
            self._writer.write(answer.raw)
        if answer is None:
            raise Cut
        passage.status = answer.status
        limit = fault.at_answer_byte if fault else None
        passed_bytes = 0
        bodiless = head.words[0] == "HEAD" or answer.status in (204, 304)
        async for piece in _with_body(answer, reader, bodiless=bodiless):
            passing = piece
            if fault and limit is not None and passed_bytes + len(piece) > limit:
                first = piece[: limit - passed_bytes]
                self._writer.write(first)
                await self._writer.drain()
                passed_bytes += len(first)
                passing, limit = piece[len(first) :], None
                if not await self._suffer(fault, head, passage):
                    return False
            self._writer.write(passing)
            await self._writer.drain()
            passed_bytes += len(passing)
            passage.answer_bytes = passed_bytes
        ends = answer.ends_connection or (not bodiless and _ends_with_connection(answer))
        return not ends

    async def _suffer(self, fault: Fault, head: Head, passage: Passage) -> bool:
        """Let it happen; return whether all goes on after it."""
        fault.meet()
        match fault.deed:
            case Pause():
                while not fault.is_over():  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
                return True
            case Instead() as instead:
                if fault.is_at_once and "expect" not in head.fields:
                    async for _ in read_body(self._reader, head, until_end=False):
                        pass
                self._writer.write(instead.raw)
                await self._writer.drain()
                passage.status = instead.status
                return False
            case _:
                passage.status = None
                raise Cut

    def reset(self) -> None:
        """End both sides at once, what is on its way lost."""
        for writer in self._writers():
            end = writer.get_extra_info("socket")
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        for writer in self._writers():
            writer.close()

    def _writers(self) -> list[asyncio.StreamWriter]:
        return [self._writer, *(writer for _, writer in self._servers.values())]


async def _with_body(
    answer: Head, reader: asyncio.StreamReader, *, bodiless: bool
) -> AsyncIterator[bytes]:
    yield answer.raw
    if not bodiless:
        async for piece in read_body(reader, answer, until_end=True):
            yield piece


def _ends_with_connection(answer: Head) -> bool:
    return "content-length" not in answer.fields and "transfer-encoding" not in answer.fields


def _ranges_in(head: Head) -> int:
    asked = head.fields.get("range", "")
    return asked.count(",") + 1 if asked else 0
