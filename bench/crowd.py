"""Many connections that want little: `python -m bench.crowd`, told by one line of JSON.

Idle clients asked once and keep their connection. Slow ones send an upload's body in drops, or
read a download in sips. It says `ready` when all are connected, and ends when told so.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass

_DROP_BYTES = 512
_PAUSE_S = 0.25
_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Orders:
    """Who is in the crowd."""

    host: str
    port: int
    uploads: str
    blob: str
    idle: int
    slow: int


async def idle(orders: Orders) -> asyncio.StreamWriter:
    """Ask for the API's version and keep the connection."""
    reader, writer = await asyncio.open_connection(orders.host, orders.port)
    writer.write(f"GET /v2/ HTTP/1.1\r\nHost: {orders.host}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return writer


async def slow_upload(orders: Orders) -> None:
    """Upload without end, a drop at a time."""
    reader, writer = await asyncio.open_connection(orders.host, orders.port)
    start = f"POST {orders.uploads} HTTP/1.1\r\nHost: {orders.host}\r\nContent-Length: 0\r\n\r\n"
    writer.write(start.encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    fields = (line.partition(": ") for line in head.split("\r\n"))
    location = next(value for name, _, value in fields if name.lower() == "location")
    if location.startswith("http"):
        location = "/" + location.split("/", 3)[3]
    writer.write(
        f"PATCH {location} HTTP/1.1\r\nHost: {orders.host}\r\nContent-Length: 1000000000\r\n"
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    while True:
        writer.write(bytes(_DROP_BYTES))
        await writer.drain()
        await asyncio.sleep(_PAUSE_S)


async def slow_download(orders: Orders) -> None:
    """Download a blob, a sip at a time."""
    reader, writer = await asyncio.open_connection(orders.host, orders.port, limit=_LIMIT_BYTES)
    writer.write(f"GET {orders.blob} HTTP/1.1\r\nHost: {orders.host}\r\n\r\n".encode())
    while await reader.read(_DROP_BYTES * 8):  # noqa: ASYNC110 slowness is the point
        await asyncio.sleep(_PAUSE_S)


async def gather(orders: Orders) -> None:
    """Be the crowd until a line comes on standard input."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        kept = [await idle(orders) for _ in range(orders.idle)]
        tasks = []
        for number in range(orders.slow):
            act = slow_download if number % 2 else slow_upload
            tasks.append(group.create_task(act(orders)))
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.5)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.readline)
        for task in tasks:
            task.cancel()
        for writer in kept:
            writer.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(gather(Orders(**json.loads(sys.stdin.readline()))))
