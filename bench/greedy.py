"""One account that takes all it can get: `python -m bench.greedy`, told by one line of JSON.

It drips the bodies of uploads, leaves manifests half-sent, and goes on asking for more as it is
refused. It says `ready` when it has asked for everything once, and ends when told so.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import suppress
from dataclasses import dataclass

_DRIP_S = 10.0
"""Often enough for any idle timeout: places are to be held, not the CPU."""
_AGAIN_S = 5.0
"""Where the server closed the connection without an answer."""
_MANIFEST = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Orders:
    """How much is asked for."""

    host: str
    port: int
    repository: str
    address: str
    """Whose account it is, as a trusted proxy would name it."""
    uploads: int
    manifests: int


async def upload(orders: Orders, asked: asyncio.Semaphore) -> None:
    """Drip an upload without end; begin again when it is refused."""
    while True:
        again_s = _AGAIN_S
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(orders.host, orders.port)
            writer.write(_head(orders, "POST", f"/v2/{orders.repository}/blobs/uploads/", 0))
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            again_s = _retry_after_s(head)
            fields = (line.partition(": ") for line in head.split("\r\n"))
            where = next((value for name, _, value in fields if name == "Location"), "")
            if where:
                writer.write(_head(orders, "PATCH", where, 1_000_000_000))
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    asked.release()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_DRIP_S):
                            again_s = _retry_after_s((await reader.read(4096)).decode())
                            break
            writer.close()
        asked.release()
        await asyncio.sleep(again_s)


async def manifest(orders: Orders) -> None:
    """Send half of a large manifest and wait; begin again when that is refused."""
    while True:
        again_s = _AGAIN_S
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(orders.host, orders.port)
            path = f"/v2/{orders.repository}/manifests/greedy"
            writer.write(_head(orders, "PUT", path, 4_000_000, f"Content-Type: {_MANIFEST}\r\n"))
            writer.write(b"{" * 100_000)
            again_s = _retry_after_s((await reader.read(4096)).decode())
            writer.close()
        await asyncio.sleep(again_s)


def _retry_after_s(head: str) -> float:
    """Return how long an answer asks to wait."""
    found = re.search(r"^Retry-After: (\d+)\r$", head, re.MULTILINE)
    return float(found[1]) if found else _AGAIN_S


def _head(orders: Orders, method: str, path: str, length_bytes: int, more: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: {orders.host}\r\nX-Forwarded-For: {orders.address}\r\n"
        f"{more}Content-Length: {length_bytes}\r\n\r\n"
    ).encode()


async def grab(orders: Orders) -> None:
    """Take until a line comes on standard input."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(manifest(orders)) for _ in range(orders.manifests)]
        for _ in range(orders.uploads):
            asked = asyncio.Semaphore(0)
            tasks.append(group.create_task(upload(orders, asked)))
            await asked.acquire()
        await asyncio.sleep(_AGAIN_S)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.readline)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(grab(Orders(**json.loads(sys.stdin.readline()))))
