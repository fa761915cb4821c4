"""The memory for parts on their way to S3 is shared out among accounts."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.engines.every import MOTO
from tests.registry.protocol import Registry
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.api.served import Served
    from tests.s3.conftest import Replica

pytestmark = pytest.mark.parametrize("engine", [MOTO], indirect=True)

_SOON_S = 60
_BUDGET_BYTES = 64 * MIB
_BUFFERS = _BUDGET_BYTES * 3 // 4 // PART_BYTES
_HANGING_BYTES = 200_000
"""More than is kept without a buffer, less than a part."""


@pytest.fixture
def served(replica: Replica) -> Iterator[Served]:
    """Two workers behind a proxy, with memory for nine parts."""
    settings = {
        "server__workers": "2",
        "registry__trusted_proxies": "127.0.0.1",
        "limits__bytes_in_flight_max_bytes": str(_BUDGET_BYTES),
        "limits__max_manifest_bytes": str(MIB),
    }
    with replica(**settings) as served:
        yield served


def _begin(address: str, registry: str) -> str:
    headers = {"X-Forwarded-For": address}
    answer = Registry(registry).send("POST", "/v2/demo/image/blobs/uploads/", headers=headers)
    assert answer.status == 202
    return answer.location


def _hang(stack: ExitStack, registry: str, address: str) -> socket.socket:
    """Send the beginning of a body, enough for a buffer, and do not go on."""
    where = _begin(address, registry)
    host, _, port = registry.rpartition(":")
    talking = stack.enter_context(closing(socket.create_connection((host, int(port)), _SOON_S)))
    head = (
        f"PATCH {where} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {address}\r\n"
        f"Content-Length: {PART_BYTES}\r\n\r\n"
    )
    talking.sendall(head.encode() + bytes(_HANGING_BYTES))
    return talking


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.05)


def test_hanging_uploads_of_one_leave_memory_to_others(served: Served) -> None:
    """Others' parts go to the bucket while all of the greedy one's hang; theirs are not lost."""
    daemon = served.daemon
    with ExitStack() as stack:
        greedy = [_hang(stack, daemon.registry, "10.0.0.1") for _ in range(_BUFFERS + 3)]
        _until(lambda: daemon.metric("blobd_received_bytes_total") >= len(greedy) * _HANGING_BYTES)
        for number in range(4):
            address = f"10.0.1.{number}"
            answer = Registry(daemon.registry).send(
                "PATCH",
                _begin(address, daemon.registry),
                bytes(2 * PART_BYTES),
                {"X-Forwarded-For": address},
            )
            assert answer.status == 202, answer.body
        answered = select.select(greedy, [], [], 0)[0]
        assert len(answered) < _BUFFERS, "nobody waited for their end"
        holding = next(talking for talking in greedy if talking not in answered)
        holding.sendall(bytes(PART_BYTES - _HANGING_BYTES))
        assert holding.recv(100).startswith(b"HTTP/1.1 202 ")
