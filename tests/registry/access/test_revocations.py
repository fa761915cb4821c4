"""Revocations that are under way while an act begins: who waits for whom, on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.engines.every import needs_postgres
from tests.registry.access.changes import World, rows_of
from tests.registry.acts import image
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.registry.access.conftest import Client, Town
    from tests.registry.protocol import Answer

pytestmark = pytest.mark.parametrize(
    "kind", [pytest.param("postgresql", marks=needs_postgres)], indirect=True, scope="package"
)


@pytest.fixture(scope="module")
def world(town: Town) -> World:
    return World(town)


def acts(world: World, client: Client) -> dict[str, Callable[[], Answer]]:
    """Return an act of each kind of lock."""
    app = f"{world.organisation}/app"
    layer = digest_of(f"{world.organisation} latest".encode())
    at = f"/api/orgs/{world.organisation}"
    role = json.dumps({"role": "owner"}).encode()
    headers = {"Content-Type": "application/json"}
    return {
        "push": lambda: client.put_manifest(app, "moved", image(layer, layer)),
        "delete": lambda: client.delete(f"/v2/{app}/manifests/old"),
        "member": lambda: client.send("PUT", f"{at}/members/{world.zed}", role, headers),
        "revoke": lambda: client.delete(f"/api/user/tokens/{world.other_token}"),
    }


@pytest.mark.parametrize("act", ["push", "delete", "member", "revoke"])
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
    waiting = """
        SELECT count(*), pg_sleep(0.01) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    before = rows_of(town)

    async def revoke(sent: Callable[[], Future[Answer]]) -> Future[Answer]:
        revoking, watching = [await asyncpg.connect(town.url) for _ in range(2)]
        try:
            await revoking.execute("BEGIN")
            # as `revoke_token` does, so that acts with it are waited for
            await revoking.execute(
                f"SELECT FROM accounts WHERE id = {world.account_id} FOR NO KEY UPDATE"
            )
            await revoking.execute(shut_out)
            future = sent()
            while not future.done() and not await watching.fetchval(waiting):
                pass
            waits = not future.done()
            await revoking.execute("COMMIT")
            assert waits, "it did not wait for the account"
            return future
        finally:
            for connection in (revoking, watching):
                await connection.close()

    with ThreadPoolExecutor(1) as pool:
        try:
            answer = asyncio.run(revoke(lambda: pool.submit(send))).result()
        finally:
            town.change(*world.losses()[name].gives_back)
    assert answer.status == 401, answer.body
    assert rows_of(town) == before
