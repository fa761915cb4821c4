"""Open upload sessions are bounded, for each account and in all, over workers and restarts."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.protocol import Answer

_SOON_S = 60
_OWN, _ALL = 5, 40
_GREEDY = "10.0.0.1"


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon of two workers behind a proxy, where accounts are addresses.

    It looks for abandoned sessions as often as a parameter says, in seconds, or else never:
    one that ends during a look may be missing from the count until the next.
    """
    settings = {
        "server.workers": "2",
        "store.durability": "none",
        "registry.trusted_proxies": "127.0.0.1",
        "limits.max_open_uploads": str(_ALL),
        "limits.max_open_uploads_per_account": str(_OWN),
        "upkeep.expire_interval_s": getattr(request, "param", "0"),
    }
    with Daemon(tmp_path / "data", settings=settings) as running:
        yield running


def _post(daemon: Daemon, address: str = _GREEDY, query: str = "", body: bytes = b"") -> Answer:
    return Registry(daemon.registry).send(
        "POST", f"/v2/demo/image/blobs/uploads/{query}", body, {"X-Forwarded-For": address}
    )


def _fill(daemon: Daemon, address: str = _GREEDY) -> list[str]:
    """Open uploads until one is refused; return where the others are."""
    opened = []
    while (answer := _post(daemon, address)).status == 202:
        opened.append(str(answer.headers["Location"]))
        assert len(opened) <= 2 * _ALL
    assert answer.status == 429
    assert answer.codes == ["TOOMANYREQUESTS"]
    assert int(answer.headers["Retry-After"]) >= 1
    return opened


def _folders(daemon: Daemon) -> int:
    return len(list((daemon.data / "uploads").iterdir()))


def test_an_account_has_only_so_many_open(pair: Daemon) -> None:
    """429 beyond, nothing on disk for what was refused, and room again for each that ends."""
    opened = _fill(pair)
    assert len(opened) == _OWN
    assert _folders(pair) == _OWN
    data = b"some bytes"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert _post(pair, query=f"?digest={digest}", body=data).status == 429
    assert _post(pair, "10.0.0.2", f"?digest={digest}", data).status == 201
    asked = Registry(pair.registry)
    shown = {"X-Forwarded-For": _GREEDY}
    assert asked.send("DELETE", opened[0], headers=shown).status == 204
    assert len(_fill(pair)) == 1
    assert asked.send("PUT", f"{opened[1]}?digest={digest}", data, shown).status == 201
    assert len(_fill(pair)) == 1
    wrong = f"sha256:{hashlib.sha256(b'others').hexdigest()}"
    assert asked.send("PUT", f"{opened[2]}?digest={wrong}", headers=shown).status == 400
    assert len(_fill(pair)) == 1
    assert pair.metric("blobd_refusals_total", limit="max_open_uploads_per_account") >= 5


def test_many_accounts_have_only_so_many_open_and_leave_some(pair: Daemon) -> None:
    """The limit in all; an account without any finds room beside those that took all they could."""
    opened = [len(_fill(pair, f"10.1.0.{number}")) for number in range(20)]
    assert max(opened) == _OWN
    assert all(opened[: _ALL // _OWN]), "each of so many got some"
    assert sum(opened) == _folders(pair) == _ALL
    assert pair.metric("blobd_refusals_total", limit="max_open_uploads") > 0


@pytest.mark.parametrize("pair", ["0.2"], indirect=True)
def test_restarts_and_killed_workers_forget_nothing(pair: Daemon) -> None:
    """Sessions outlive both, and so does their count, in whatever worker they were opened."""
    _fill(pair)
    _, *workers = pair.pids()
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
        _until(lambda: _serves(pair))
        assert _post(pair).status == 429
    pair.restart()
    _until(lambda: _post(pair).status == 429)  # the first look for abandoned ones counts them
    counted = _folders(pair)
    time.sleep(0.5)  # some looks later it is the same
    assert _post(pair).status == 429
    assert _folders(pair) == counted


def _serves(daemon: Daemon) -> bool:
    try:
        return Registry(daemon.registry).get("/v2/").status == 200
    except OSError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _SOON_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.05)
