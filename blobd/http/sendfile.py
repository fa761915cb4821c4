"""From a file to a socket without passing through this process: sendfile(2), on uvloop too.

uvloop has no `loop.sendfile`, and guards its own descriptors; a duplicate of the socket's is
free. The duplicate stays non-blocking: the loop waits until it can be written, then a thread
makes one call for a few MiB at most. So no thread is held while a client is slow, and a page
that must come from disk stalls a thread and not the loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import web

    from blobd.digest import Span
    from blobd.threads import Threads

_CALL_BYTES = 4 * 1024 * 1024


class FileSender:
    """Sends spans of a file on one response's connection, whose head has been written."""

    def __init__(self, request: web.BaseRequest, threads: Threads, *, stall_s: float) -> None:
        self._request = request
        self._threads = threads
        self._stall_s = stall_s

    async def send(self, fd: int, span: Span, *, sent: Callable[[int], None]) -> None:
        """Send the span; `sent` gets the bytes of each call.

        Raises ConnectionResetError when the client is gone or takes nothing for `stall_s`. If
        cancelled, no thread is sending, and the connection must be closed.
        """
        with self._duplicate() as out:
            await self._flush()
            position = span.start
            while position < span.stop:
                count = min(_CALL_BYTES, span.stop - position)
                try:
                    moved = await self._threads.run(os.sendfile, out, fd, position, count)
                except BlockingIOError:
                    await self._writable(out)
                    continue
                except OSError as error:
                    raise ConnectionResetError("the client has gone") from error
                if moved == 0:
                    raise ConnectionResetError("the file ended before its span did")
                position += moved
                sent(moved)
                if position < span.stop and moved < count:
                    await self._writable(out)

    @contextmanager
    def _duplicate(self) -> Iterator[int]:
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        try:
            out = os.dup(transport.get_extra_info("socket").fileno())
        except OSError as error:
            raise ConnectionResetError("the client has gone") from error
        try:
            yield out
        finally:
            os.close(out)

    async def _flush(self) -> None:
        """Wait until nothing is left in the transport's own buffer, which would come too late."""
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        if transport.get_write_buffer_size() == 0:
            return
        transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(self._stall_s):
                await self._request.writer.drain()
        except TimeoutError as error:
            raise ConnectionResetError("the client takes nothing") from error
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    async def _writable(self, out: int) -> None:
        loop = asyncio.get_running_loop()
        writable = loop.create_future()
        loop.add_writer(out, _wake, writable)
        try:
            async with asyncio.timeout(self._stall_s):
                await writable
        except TimeoutError as error:
            raise ConnectionResetError("the client takes nothing") from error
        finally:
            loop.remove_writer(out)
        if self._request.transport is None:
            raise ConnectionResetError("the client has gone")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def can_send_files(request: web.BaseRequest) -> bool:
    """Whether the connection is a plain socket, not TLS."""
    transport = request.transport
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        return False
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
