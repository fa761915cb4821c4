"""Logins are shared out: one account's or address's leave room for others'."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town

_LOGINS = 24
_SCOPES = 400
"""Each of them is looked up."""
_SOON_S = 120


def _ask(town: Town, stack: ExitStack, address: str, secret: str | None) -> socket.socket:
    """Send a login that asks for much, and do not wait."""
    scopes = " ".join(f"repository:acme/{number}:pull,push" for number in range(_SCOPES))
    host, _, port = town.address.rpartition(":")
    talking = stack.enter_context(closing(socket.create_connection((host, int(port)), _SOON_S)))
    head = f"Host: {host}\r\nX-Forwarded-For: {address}\r\n"
    if secret is None:
        path = f"/token?scope={quote(scopes, safe=':,/')}"
        talking.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        return talking
    form = urlencode([("grant_type", "password"), ("password", secret), ("scope", scopes)])
    head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
    talking.sendall(f"POST /token HTTP/1.1\r\n{head}\r\n{form}".encode())
    return talking


@pytest.mark.parametrize("secret", ["blobd_pat_bob", None], ids=["account", "address"])
def test_logins_that_ask_for_much_hold_up_nobody_else(town: Town, secret: str | None) -> None:
    """Another one is let in while most of the greedy one's still wait for each other."""
    with ExitStack() as stack:
        greedy = [_ask(town, stack, "10.9.9.9", secret) for _ in range(_LOGINS)]
        assert select.select(greedy, [], [], _SOON_S)[0], "none was ever answered"
        for modest in ("blobd_pat_eve", None):
            town.bearer(modest, "repository:acme/app:pull")
        answered = select.select(greedy, [], [], 0)[0]
        assert len(answered) <= _LOGINS // 2, "it waited for the others"
        for talking in greedy:
            # on a slow machine it waits for its own share until it is asked to come again
            assert talking.recv(13) in {b"HTTP/1.1 200 ", b"HTTP/1.1 429 "}
