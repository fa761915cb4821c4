"""Revocations that are under way while an act begins: who waits for whom, on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.engines.every import needs_postgres
from tests.registry.access.changes import World, rows_of
from tests.registry.access.person import Person
from tests.registry.acts import image
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Future

    from tests.engines.postgres import Postgres
    from tests.registry.access.conftest import Client, Town
    from tests.registry.protocol import Answer

pytestmark = pytest.mark.parametrize(
    "kind", [pytest.param("postgresql", marks=needs_postgres)], indirect=True, scope="package"
)

_WAITING = """
    SELECT count(*), pg_sleep(0.01) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_DEADLOCK = "deadlock detected"


@pytest.fixture(scope="module")
def world(town: Town) -> World:
    return World(town)


def acts(world: World, client: Client) -> dict[str, Callable[[], Answer]]:
    """Return an act of each kind that locks and confirms in its own way, and a form."""
    person = Person(world.town)
    person.sign_in(world.mia)
    person.open("/settings/tokens/new")
    app = f"{world.organisation}/app"
    layer = digest_of(f"{world.organisation} latest".encode())
    at = f"/api/orgs/{world.organisation}"
    role = json.dumps({"role": "owner"}).encode()
    headers = {"Content-Type": "application/json"}
    return {
        "push": lambda: client.put_manifest(app, "moved", image(layer, layer)),
        "delete": lambda: client.delete(f"/v2/{app}/manifests/old"),
        "member": lambda: client.send("PUT", f"{at}/members/{world.zed}", role, headers),
        "form": lambda: person.submit(
            "/settings/tokens/new", scopes="read:packages", note="", days="30"
        ),
        "revoke": lambda: client.delete(f"/api/user/tokens/{world.other_token}"),
    }


class Held:
    """The row of an account, locked; and what waits for locks in the same database."""

    def __init__(self, locking: asyncpg.Connection, watching: asyncpg.Connection) -> None:
        self._locking = locking
        self._watching = watching

    async def until_wait(self, count: int, *sent: Future[Answer]) -> None:
        """Wait until so many acts wait, or one of them is done, which is a failure."""
        while await self._watching.fetchval(_WAITING) < count:
            assert not any(future.done() for future in sent), "it did not wait for the account"

    async def release(self) -> None:
        """Commit what was done."""
        await self._locking.execute("COMMIT")


@asynccontextmanager
async def holding(town: Town, world: World, lock: str, *statements: str) -> AsyncIterator[Held]:
    """Lock the caller's account, and run statements in the same transaction."""
    locking, watching = [await asyncpg.connect(town.url) for _ in range(2)]
    try:
        await locking.execute("BEGIN")
        await locking.execute(f"SELECT FROM accounts WHERE id = {world.account_id} {lock}")
        for statement in statements:
            await locking.execute(statement)
        yield Held(locking, watching)
    finally:
        for connection in (locking, watching):
            await connection.close()


@pytest.mark.parametrize("act", ["push", "delete", "member", "form", "revoke"])
@pytest.mark.parametrize("name", ["disabled", "revoked"])
def test_no_act_commits_after_a_revocation_that_it_waited_for(
    town: Town, world: World, name: str, act: str
) -> None:
    """The act's transaction has begun, and waits for the account that is being shut out."""
    send = acts(world, town.person(world.mia))[act]
    shut_out = {
        "disabled": f"UPDATE accounts SET disabled_at = 1 WHERE id = {world.account_id}",
        "revoked": f"UPDATE tokens SET revoked_at = 1 WHERE id = '{world.mia}'",
    }[name]
    before = rows_of(town)

    async def race(pool: ThreadPoolExecutor) -> Future[Answer]:
        # as `revoke_token` does, so that acts with it are waited for
        async with holding(town, world, "FOR NO KEY UPDATE", shut_out) as held:
            sent = pool.submit(send)
            await held.until_wait(1, sent)
            await held.release()
            return sent

    with ThreadPoolExecutor(1) as pool:
        try:
            answer = asyncio.run(race(pool)).result()
        finally:
            town.change(*world.losses()[name].gives_back)
    assert answer.status == 401, answer.body
    assert rows_of(town) == before


def test_two_tokens_of_one_account_end_together_without_a_deadlock(
    town: Town, world: World, postgres: Postgres
) -> None:
    """Two that had locked the account together would each wait for the other."""
    ended = postgres.said(_DEADLOCK)
    client = town.person(world.mia)
    at = f"/api/user/tokens/{world.other_token}"

    async def race(pool: ThreadPoolExecutor) -> list[Future[Answer]]:
        async with holding(town, world, "FOR SHARE") as held:
            sent = [pool.submit(client.delete, at) for _ in range(2)]
            await held.until_wait(2, *sent)
            await held.release()
            return sent

    with ThreadPoolExecutor(2) as pool:
        answers = [future.result() for future in asyncio.run(race(pool))]
    assert [answer.status for answer in answers] == [204, 204]
    assert postgres.said(_DEADLOCK) == ended
