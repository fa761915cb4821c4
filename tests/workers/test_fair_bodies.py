"""Forms and JSON bodies that hang hold their own account's share, and for a bounded time."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.daemon import Daemon
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_SOON_S = 60
_MIB = 1024 * 1024
_MEMORY_BYTES = 16 * _MIB
"""For large bodies, where no manifest is larger than 1 MiB."""
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_JSON = {"Content-Type": "application/json"}
_CHUNKED = {"Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class Town:
    """A daemon that asks who is there, behind a proxy; `eve` is how she shows who she is."""

    daemon: Daemon
    admin: str
    eve: str


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    data: Path = tmp_path_factory.mktemp("town") / "data"
    settings = {
        "store.durability": "none",
        "registry.auth": "true",
        "registry.trusted_proxies": "127.0.0.1",
        "limits.max_manifest_bytes": str(_MIB),
    }
    with Daemon(data, settings=settings) as daemon:
        _operate(data, "user", "add", "eve")
        made = _operate(data, "token", "create", "--user=eve", "--scope=write:packages", "--json")
        assert daemon.first_token is not None
        yield Town(daemon, _basic(daemon.first_token), _basic(json.loads(made)["token"]))


def _operate(data: Path, *words: str) -> str:
    command = [sys.executable, "-m", "blobd", *words, f"--data={data}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _basic(secret: str) -> str:
    return f"Basic {b64encode(f'somebody:{secret}'.encode()).decode()}"


class Talk:
    """A request whose body hangs."""

    def __init__(self, town: Town, path: str, headers: Mapping[str, str]) -> None:
        host, _, port = town.daemon.registry.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), _SOON_S)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())

    def close(self) -> None:
        self.socket.close()

    @property
    def seen(self) -> bytes:
        """What has come back so far."""
        if not select.select([self.socket], [], [], 0)[0]:
            return b""
        return self.socket.recv(10_000, socket.MSG_PEEK)

    @property
    def is_read(self) -> bool:
        """Whether the daemon has asked for the body and still waits for it."""
        return self.seen == b"HTTP/1.1 100 Continue\r\n\r\n"


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.05)


def _check_share(town: Town, path: str, head: dict[str, str], each_bytes: int) -> Iterator[int]:
    """Let more bodies hang than an account's share holds; yield while they do, then look again."""
    share = (_MEMORY_BYTES + each_bytes) // (2 * each_bytes)
    with ExitStack() as stack:
        greedy = [
            stack.enter_context(closing(Talk(town, path, head | {"Expect": "100-continue"})))
            for _ in range(share + 50)
        ]
        _until(lambda: sum(talk.is_read for talk in greedy) == share)
        yield share
        assert sum(talk.is_read for talk in greedy) <= share
        assert any(not talk.seen for talk in greedy), "some still wait for their account's share"


def test_half_sent_token_forms_of_an_address_hold_its_share(town: Town) -> None:
    """Another address gets its tokens, by forms as large and by chunked ones."""
    greedy = {**_FORM, "Content-Length": "500000", "X-Forwarded-For": "10.0.0.1"}
    form = urlencode([("grant_type", "refresh_token"), ("refresh_token", "x" * 100_000)]).encode()
    for _ in _check_share(town, "/token", greedy, 500_000):
        for number in range(3):
            for body in (form, iter([form])):
                modest = {**_FORM, "X-Forwarded-For": f"10.0.1.{number}"}
                answer = Registry(town.daemon.registry).send("POST", "/token", body, modest)
                assert answer.status == 401, "it was read, and the token is none"


def test_half_sent_sign_in_forms_of_a_network_hold_its_share(town: Town) -> None:
    """IPv6 clients have a /64 each."""
    greedy = {**_FORM, **_CHUNKED, "X-Forwarded-For": "2001:db8::1"}
    for _ in _check_share(town, "/packages/-/sign-in", greedy, 64 * 1024):
        modest = {**_FORM, "X-Forwarded-For": "2001:db8:0:1::1"}
        answer = Registry(town.daemon.registry).send(
            "POST", "/packages/-/sign-in", iter([b"token=", b"none"]), modest
        )
        assert answer.status == 403


def test_half_sent_api_bodies_of_an_account_hold_its_share(town: Town) -> None:
    """By account, from wherever it comes: another one at the same address is served."""
    greedy = {**_JSON, **_CHUNKED, "Authorization": town.eve, "X-Forwarded-For": "10.0.0.2"}
    for _ in _check_share(town, "/api/orgs", greedy, 64 * 1024):
        for name in ("one", "two", "three"):
            body = json.dumps({"name": name, "owner": "eve"}).encode()
            modest = {**_JSON, "Authorization": town.admin, "X-Forwarded-For": "10.0.0.2"}
            answer = Registry(town.daemon.registry).send("POST", "/api/orgs", iter([body]), modest)
            assert answer.status in {201, 204}, answer.body


def test_a_body_that_drips_has_an_end(town: Town) -> None:
    """408: as a whole it has to arrive in time, not only a byte now and then."""
    drops = {"Content-Length": b"x", "Transfer-Encoding": b"1\r\nx\r\n"}
    with ExitStack() as stack:
        dripping = []
        for path in ("/token", "/packages/-/sign-in", "/api/orgs"):
            for framing in ({"Content-Length": "60000"}, _CHUNKED):
                head = {**(_JSON if path == "/api/orgs" else _FORM), **framing}
                talk = Talk(town, path, head | {"Authorization": town.admin})
                dripping.append((stack.enter_context(closing(talk)), drops[next(iter(framing))]))
        give_up_at = time.monotonic() + _SOON_S
        while not all(talk.seen for talk, _ in dripping):
            assert time.monotonic() < give_up_at, "some may drip for ever"
            for talk, drop in dripping:
                if not talk.seen:
                    talk.socket.sendall(drop)
            time.sleep(0.2)
        assert {talk.seen[:13] for talk, _ in dripping} == {b"HTTP/1.1 408 "}
