"""Manifests in memory: a slow one is not waited for, and many large ones all get their turn."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path


async def _put(daemon: Daemon, tag: str, body: bytes, *, sent: int) -> bytes:
    """Put a manifest of which only `sent` bytes are sent; return the answer."""
    host, _, port = daemon.registry.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"PUT /v2/big/manifests/{tag} HTTP/1.1\r\nHost: {daemon.registry}\r\n"
        f"Content-Type: application/vnd.oci.image.index.v1+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[:sent])
    await writer.drain()
    answer = await reader.read(65536)
    writer.close()
    return answer


def _index(note: str) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
            "annotations": {"note": note},
        }
    ).encode()


async def test_a_manifest_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    """A large manifest that stops arriving is answered 408, in the documented JSON."""
    with Daemon(tmp_path / "data", settings={"limits.idle_timeout_s": "1"}) as daemon:
        answer = await _put(daemon, "slow", _index("x" * 200_000), sent=100_000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"errors"' in answer


async def test_more_large_manifests_than_fit_at_once_all_get_in(daemon: Daemon) -> None:
    """Promise 7: their memory is bounded, and somebody always finishes; here everybody does."""
    bodies = [_index(f"{number}" * 500_000) for number in range(10)] * 3
    async with asyncio.TaskGroup() as group:
        puts = [
            group.create_task(_put(daemon, f"t{number}", body, sent=len(body)))
            for number, body in enumerate(bodies)
        ]
    assert {put.result().split(b"\r\n")[0] for put in puts} == {b"HTTP/1.1 201 Created"}
