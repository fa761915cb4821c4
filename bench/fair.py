"""Ten modest accounts, alone and beside one that takes all it can get."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.greedy import Orders
from bench.journal import Journal, Key
from bench.plan import REPOSITORY, Plan
from bench.servers import HOST, running_blobd
from bench.workforce import beside

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.servers import Server

_MODEST = 10
_PAUSE_S = 0.1
_BLOB_BYTES = 32 * 1024
_MANIFEST_BYTES = 100_000
_INDEX = "application/vnd.oci.image.index.v1+json"
_GREEDY_UPLOADS = 1_100
_GREEDY_MANIFESTS = 40
ALONE, BESIDE = "ten accounts alone", "ten accounts beside a greedy one"
_WARM_UP_S = 3.0
"""Of pushes that are not counted: the first ones import, connect and make packages."""


def run(plan: Plan, journal: Journal) -> None:
    """Measure how long a push takes, alone and beside the greedy account.

    Both in each round, one right after the other and by turns first: what else the machine does
    drifts slowly, and its ratio within a round says more than that of medians of all.
    """
    settings = {"registry.trusted_proxies": HOST}
    with running_blobd(plan.folder / "fair", workers=1, settings=settings) as blobd:
        asyncio.run(_pushes(blobd, _WARM_UP_S))
        for number in range(plan.rounds):
            journal.progress(f"fair {number + 1}/{plan.rounds}")
            p99_ms = {
                case: _p99_ms(plan, blobd, case)
                for case in ((ALONE, BESIDE) if number % 2 == 0 else (BESIDE, ALONE))
            }
            for case in (ALONE, BESIDE):
                journal.note(Key("fair", case, "blobd", metric.PUSH), p99_ms[case])
            ratio = p99_ms[BESIDE] / p99_ms[ALONE]
            journal.note(Key("fair", BESIDE, "blobd", metric.OF_ALONE), ratio)


def _p99_ms(plan: Plan, server: Server, case: str) -> float:
    with _greedy(server) if case == BESIDE else nullcontext():
        pushes_s = sorted(asyncio.run(_pushes(server, plan.fair_s)))
    return pushes_s[int(len(pushes_s) * 0.99)] * 1000


async def _pushes(server: Server, lasting_s: float) -> list[float]:
    """Let each modest account push for a while; return how long each push took."""
    async with asyncio.TaskGroup() as group:
        end_s = time.monotonic() + lasting_s
        tasks = [group.create_task(_modest(server, number, end_s)) for number in range(_MODEST)]
    return [push_s for task in tasks for push_s in task.result()]


async def _modest(server: Server, number: int, end_s: float) -> list[float]:
    """Push a blob and a manifest, pause, and so on."""
    took = []
    shown = f"X-Forwarded-For: 10.0.1.{number}\r\n"
    base = f"/v2/{REPOSITORY}{number}"
    while time.monotonic() < end_s:
        data = os.urandom(_BLOB_BYTES)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        note = os.urandom(_MANIFEST_BYTES // 2).hex()
        manifest = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": []}
        body = json.dumps({**manifest, "annotations": {"note": note}}).encode()
        start_s = time.monotonic()
        await _created(server, "POST", f"{base}/blobs/uploads/?digest={digest}", shown, data)
        typed = f"{shown}Content-Type: {_INDEX}\r\n"
        await _created(server, "PUT", f"{base}/manifests/latest", typed, body)
        took.append(time.monotonic() - start_s)
        await asyncio.sleep(_PAUSE_S)
    return took


async def _created(server: Server, method: str, path: str, fields: str, body: bytes) -> None:
    """Send one request on a connection of its own; it has to be answered 201."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}{length}".encode() + body)
    status = await reader.readline()
    await reader.read()
    writer.close()
    if b" 201 " not in status:
        raise RuntimeError(f"{method} of a modest account was answered {status!r}")


def _greedy(server: Server) -> AbstractContextManager[None]:
    orders = Orders(HOST, server.port, REPOSITORY, "10.0.0.1", _GREEDY_UPLOADS, _GREEDY_MANIFESTS)
    return beside("bench.greedy", orders)
