"""Two replicas behind a proxy that goes round: each PATCH of an upload comes to the other one.

The proxies are the tests' own, slow and exact: one goes round, one counts what the engine is asked
for and what it answers.
"""

from __future__ import annotations

import hashlib
import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench import journal as metric
from bench.journal import Journal, Key
from bench.metrics import read_metric
from bench.plan import MIB
from bench.s3.site import PART_BYTES
from bench.senders import with_digest
from bench.servers import HOST
from tests.relay.relay import Relay

if TYPE_CHECKING:
    from pathlib import Path

    from bench.plan import Plan
    from bench.s3.site import Site

CASE = "two replicas in turn"
NAME = "blobd"
_REREAD = "blobd_reread_bytes_total"
_PIECES_BYTES = (MIB, 5 * MIB, 3 * PART_BYTES + 7, 1, PART_BYTES, 2 * MIB + 3)
"""PATCHes shorter and longer than a part, and one that is exactly one."""


def run(plan: Plan, journal: Journal, site: Site, source: Path) -> None:
    """Upload in PATCHes of every size, and fetch; note failures, and what was fetched again."""
    with source.open("rb") as file:
        data = file.read(min(256 * MIB, plan.large_bytes))
    endpoint = urlsplit(site.bucket.access.endpoint_url).netloc
    with (
        Relay(endpoint) as engine,
        site.blobd(endpoint_url=engine.url) as one,
        site.blobd(endpoint_url=engine.url) as other,
        Relay(f"{HOST}:{one.port}", f"{HOST}:{other.port}") as proxy,
    ):
        for number in range(plan.few_rounds):
            journal.progress(f"s3 {CASE} {number + 1}/{plan.few_rounds}")
            engine.forget()
            own = data + number.to_bytes(4)
            digest = f"sha256:{hashlib.sha256(own).hexdigest()}"
            failed = _upload(proxy.address, one.uploads, own, digest)
            read = [each for each in engine.passages("GetObject") if each.status in {200, 206}]
            tails = [each.answer_bytes for each in read if each.key.startswith("uploads/")]
            bodies = sum(each.answer_bytes for each in read if each.key.startswith("objects/"))
            reread = bodies + sum(read_metric(each, _REREAD) for each in (one, other))
            failed += not _holds(proxy.address, one.uploads, own, digest)
            _note(journal, metric.FAILED, failed)
            _note(journal, metric.REREAD, reread / MIB)
            _note(journal, metric.TAIL, max(tails, default=0) / MIB)


def _note(journal: Journal, name: str, value: float) -> None:
    journal.note(Key("s3", CASE, NAME, name), value)


def _upload(address: str, path: str, data: bytes, digest: str) -> int:
    """Upload in PATCHes; return how many requests were not answered as they should."""
    failed = 0
    proxy = http.client.HTTPConnection(address, timeout=120)

    def ask(method: str, target: str, wanted: int, body: bytes = b"") -> str:
        nonlocal failed
        proxy.request(method, target, body, {"Content-Type": "application/octet-stream"})
        answer = proxy.getresponse()
        answer.read()
        failed += answer.status != wanted
        location = urlsplit(answer.headers.get("Location", target))
        return f"{location.path}?{location.query}" if location.query else location.path

    upload = ask("POST", path, 202)
    start = number = 0
    while start < len(data):
        piece = data[start : start + _PIECES_BYTES[number % len(_PIECES_BYTES)]]
        upload = ask("PATCH", upload, 202, piece)
        start, number = start + len(piece), number + 1
    ask("PUT", with_digest(upload, digest), 201)
    proxy.close()
    return failed


def _holds(address: str, path: str, data: bytes, digest: str) -> bool:
    """Return whether what is fetched by its digest is what was uploaded."""
    proxy = http.client.HTTPConnection(address, timeout=120)
    proxy.request("GET", f"{path.removesuffix('uploads/')}{digest}")
    fetched = proxy.getresponse().read()
    proxy.close()
    return fetched == data
