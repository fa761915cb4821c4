"""One account that takes all it can get shuts out nobody else: places, and memory for manifests.

Accounts are client addresses here, as trusted proxies name them: nobody is asked who they are.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SOON_S = 60
_PLACES = 8
_LARGEST_BYTES = 4 * 1024 * 1024
"""`limits.max_manifest_bytes`"""
_INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of two workers behind a proxy."""
    settings = {
        "server.workers": "2",
        "store.durability": "none",
        "registry.trusted_proxies": "127.0.0.1",
        "limits.max_uploads": str(_PLACES),
    }
    with Daemon(tmp_path / "data", settings=settings) as running:
        yield running


def _begin(daemon: Daemon, address: str) -> str:
    answer = Registry(daemon.registry).send(
        "POST", "/v2/demo/image/blobs/uploads/", headers={"X-Forwarded-For": address}
    )
    assert answer.status == 202
    return str(answer.headers["Location"])


def _drip(daemon: Daemon, stack: ExitStack, address: str) -> socket.socket:
    """Begin an upload's body and do not go on."""
    where = _begin(daemon, address)
    return _send(daemon, stack, "PATCH", where, 1_000_000, b"x", {"X-Forwarded-For": address})


def _send(
    daemon: Daemon,
    stack: ExitStack,
    method: str,
    path: str,
    length_bytes: int,
    sent: bytes,
    headers: dict[str, str],
) -> socket.socket:
    host, _, port = daemon.registry.rpartition(":")
    talking = stack.enter_context(closing(socket.create_connection((host, int(port)), _SOON_S)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: {length_bytes}\r\n\r\n"
    )
    talking.sendall(head.encode() + sent)
    return talking


def _is_answered(talking: socket.socket) -> bool:
    return bool(select.select([talking], [], [], 0)[0])


def _push(daemon: Daemon, address: str) -> int:
    """Push a blob in one PATCH, and return how that is answered."""
    where = _begin(daemon, address)
    answer = Registry(daemon.registry).send(
        "PATCH", where, b"y" * 100_000, {"X-Forwarded-For": address}
    )
    if answer.status == 429:
        assert answer.codes == ["TOOMANYREQUESTS"]
        assert int(answer.headers["Retry-After"]) >= 1
    return answer.status


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"]]
)
def test_dripping_uploads_of_one_leave_places_to_others(pair: Daemon, addresses: list[str]) -> None:
    """429 for the greedy one alone; also where it has the addresses of a whole /64."""
    with ExitStack() as stack:
        for number in range(2 * _PLACES):
            _drip(pair, stack, addresses[number % len(addresses)])
        _until(
            lambda: (
                pair.metric("blobd_refusals_total", limit="account_share_percent") >= _PLACES - 2
            )
        )
        # two workers that look at the same instant may pass the share by one each
        assert pair.metric("blobd_uploads_in_flight") <= _PLACES // 2 + 1
        assert {_push(pair, address) for address in addresses} == {429}
        for number in range(20):
            assert _push(pair, f"10.1.0.{number}") == 202
        _, *workers = pair.pids()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        _until(lambda: _serves(pair) and pair.metric("blobd_uploads_in_flight") == 0)
        assert _push(pair, addresses[0]) == 202, "what a killed worker held is held no more"


def _serves(daemon: Daemon) -> bool:
    try:
        return Registry(daemon.registry).get("/v2/").status == 200
    except OSError:
        return False


def test_half_sent_manifests_of_one_hold_up_nobody_else(pair: Daemon) -> None:
    """Another's large manifest is taken while they hang, and theirs still can be finished."""
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": [],
            "annotations": {"n": "x" * 10**6},
        }
    ).encode()
    greedy = {"Content-Type": _INDEX, "X-Forwarded-For": "10.0.0.1"}
    path = "/v2/demo/image/manifests/greedy"
    with ExitStack() as stack:
        hanging = [
            _send(pair, stack, "PUT", path, _LARGEST_BYTES, b"{" * 200_000, greedy)
            for _ in range(40)
        ]
        for number in range(6):
            answer = Registry(pair.registry).send(
                "PUT",
                f"/v2/demo/image/manifests/modest{number}",
                body,
                {"Content-Type": _INDEX, "X-Forwarded-For": f"10.0.1.{number}"},
            )
            assert answer.status == 201
        assert not any(_is_answered(each) for each in hanging), "nobody waited for their end"
        for each in hanging:
            each.close()
        answer = Registry(pair.registry).send("PUT", path, body, greedy)
        assert answer.status == 201


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.05)
