"""The registry with pgbouncer between it and PostgreSQL, as Debian ships it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from blobd.database import open_catalog
from blobd.database.opening import Server
from blobd.errors import ConfigInvalid
from blobd.registry.catalog.read_queries import ReadQueries
from tests.backends.acts import off_loop
from tests.daemon import Daemon
from tests.engines.every import needs_pgbouncer
from tests.engines.pgbouncer import running_pgbouncer
from tests.registry.acts import APP, BLOB, link
from tests.registry.protocol import Registry, digest_of, with_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.engines.pgbouncer import Pgbouncer
    from tests.engines.postgres import Postgres

pytestmark = needs_pgbouncer

_STARTUP = "ignore_startup_parameters = statement_timeout,lock_timeout,"
_FEW_SERVERS = "default_pool_size = 3"
"""Fewer than blobd has connections: transactions of all of them share server connections."""
_POOLERS = [
    pytest.param(("session", ""), id="session"),
    pytest.param(("transaction", _FEW_SERVERS), id="transaction"),
    pytest.param(
        ("transaction", f"{_STARTUP}idle_in_transaction_session_timeout\n{_FEW_SERVERS}"),
        id="transaction-ignoring-parameters",
    ),
]


@pytest.fixture
def pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Pgbouncer]:
    mode, settings = request.param
    with running_pgbouncer(postgres, mode=mode, settings=settings) as running:
        yield running


@contextmanager
def _two_daemons(url: str, folder: Path) -> Iterator[list[Daemon]]:
    """Run two daemons that share a folder and a catalog, and are started at once."""
    daemons = [Daemon(folder / "data", settings={"catalog.url": url}) for _ in range(2)]
    with ExitStack() as stack:
        for starting in [threading.Thread(target=each.start) for each in daemons]:
            starting.start()
            stack.callback(starting.join)
        stack.pop_all().close()
        for each in daemons:
            stack.callback(each.kill)
        yield daemons
        for each in daemons:
            each.stop()


def _push_and_read(registry: Registry, name: str, number: int) -> None:
    """Push a blob and read it; where the catalog cannot be used, the answer must say so."""
    data = f"{name} {number}".encode()
    digest = digest_of(data)
    started = registry.start(name)
    if _refused(started.status, started.headers["Retry-After"], 202):
        return
    ended = registry.send("PUT", with_digest(started.location, digest), data)
    if _refused(ended.status, ended.headers["Retry-After"], 201):
        return
    found = registry.get(f"/v2/{name}/blobs/{digest}")
    if not _refused(found.status, found.headers["Retry-After"], 200):
        assert found.body == data


def _refused(status: int, retry_after: str | None, expected: int) -> bool:
    if status == 503:
        assert retry_after is not None
        return True
    assert status == expected
    return False


@contextmanager
def _traffic(daemons: list[Daemon], workers_each: int = 6) -> Iterator[Callable[[], int]]:
    """Push and read at all daemons; gives how many rounds have ended, raises what went wrong."""
    ended = threading.Event()
    failures: list[BaseException] = []
    rounds = [0] * (len(daemons) * workers_each)

    def work(registry: Registry, worker: int) -> None:
        try:
            while not ended.is_set():
                _push_and_read(registry, f"team/app{worker}", rounds[worker])
                rounds[worker] += 1
        except BaseException as error:  # noqa: BLE001 raised where the block ends
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(Registry(daemons[n % len(daemons)].registry), n))
        for n in range(len(rounds))
    ]
    for thread in threads:
        thread.start()
    try:
        yield lambda: sum(rounds)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("pooler", _POOLERS, indirect=True)
def test_two_replicas_behind_a_pooler_outlive_its_restart(
    pooler: Pgbouncer, database: str, tmp_path: Path
) -> None:
    """They make the tables, serve, answer 503 while it is away, and recover; no tracebacks."""
    with _two_daemons(pooler.url(database), tmp_path) as daemons:
        with _traffic(daemons) as rounds:
            _wait_for(lambda: rounds() > 100)
            pooler.kill()
            time.sleep(0.3)
            pooler.start()
            at_restart = rounds()
            _wait_for(lambda: rounds() > at_restart + 100)
            pooler.stop()
            pooler.start()
            at_restart = rounds()
            _wait_for(lambda: rounds() > at_restart + 100)
        for each in daemons:
            registry = Registry(each.registry)
            registry.push("team/kept", each.registry.encode())
        log = daemons[0].log() + daemons[1].log()
    assert not [line for line in log.splitlines() if "prepared statement" in line]


async def test_a_pooler_by_statement_is_refused_in_one_line(
    postgres: Postgres, database: str
) -> None:
    """There are no transactions in that mode; the line names the remedy."""
    pooling = running_pgbouncer(postgres, mode="statement")
    pooler = await off_loop(pooling.__enter__)
    try:
        with pytest.raises(ConfigInvalid, match="pool_mode = transaction or session") as refusal:
            async with open_catalog(Server(pooler.url(database)), durable=False):
                pass
    finally:
        await off_loop(lambda: pooling.__exit__(None, None, None))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_waits_are_bounded_behind_a_pooler_too(
    postgres: Postgres, database: str, mode: str
) -> None:
    """What the server would not take at the connection's start holds in each transaction."""
    pooling = running_pgbouncer(postgres, mode=mode)
    pooler = await off_loop(pooling.__enter__)
    try:
        async with open_catalog(Server(pooler.url(database)), durable=False) as catalog:
            settings = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
            for work in (catalog.read, catalog.write):
                shown = await work(
                    lambda transaction: [
                        transaction.execute(text(f"SHOW {name}")).scalar() for name in settings
                    ]
                )
                assert shown == ["15s", "10s", "30s"]
            await link(catalog, BLOB)
            assert await ReadQueries(catalog.reader).link(APP, BLOB) is not None
    finally:
        await off_loop(lambda: pooling.__exit__(None, None, None))


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing goes on"
        time.sleep(0.02)
