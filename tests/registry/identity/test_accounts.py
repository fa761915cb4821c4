"""Who belongs where, when several change it at once; and names that can be none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from blobd.database import open_catalog
from blobd.errors import BlobdError, Refused
from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog import teams as team_rows
from blobd.registry.errors import NotFound
from blobd.registry.identity import accounts, sources, teams, tokens
from tests.registry.acts import asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from blobd.database import Catalog, Transaction
    from blobd.database.opening import Server

NO_NAMES = ["a\0b", "\udcff", "", "A", "a/b", "@deleted", "x" * 101]


@pytest.fixture
async def other(place: Path | Server, catalog: Catalog) -> AsyncIterator[Catalog]:
    """The same catalog, as another process has it open."""
    async with open_catalog(place, durable=False, clock=catalog.now) as opened:
        yield opened


@pytest.fixture
async def acme(catalog: Catalog) -> None:
    """`acme` of ada and bob, who own it."""
    for name in ("ada", "bob"):
        await accounts.add_user(catalog, name)
    await accounts.add_organisation(catalog, "acme", owner="ada")
    await accounts.set_member(catalog, "acme", "bob", "owner")


async def refusals(*works: Awaitable[None]) -> list[BaseException]:
    """Return with what some of these failed, at once."""
    ended = await asyncio.gather(*works, return_exceptions=True)
    return [each for each in ended if each is not None]


@pytest.mark.usefixtures("acme")
async def test_of_two_owners_who_remove_each_other_one_stays(
    catalog: Catalog, other: Catalog
) -> None:
    (refused,) = await refusals(
        accounts.remove_member(catalog, "acme", "ada"), accounts.remove_member(other, "acme", "bob")
    )
    assert isinstance(refused, Refused)
    (left,) = await accounts.list_members(catalog, "acme")
    assert left.role == "owner"


async def test_of_two_administrators_who_disable_each_other_one_stays(
    catalog: Catalog, other: Catalog
) -> None:
    for name in ("one", "two"):
        await accounts.add_user(catalog, name, is_administrator=True)
    (refused,) = await refusals(
        accounts.disable_user(catalog, "one"), accounts.disable_user(other, "two")
    )
    assert isinstance(refused, Refused)
    assert len(await asked(catalog, "SELECT id FROM accounts WHERE disabled_at IS NULL")) == 1


@pytest.mark.usefixtures("acme")
async def test_who_joins_a_team_while_being_removed_is_in_no_team(
    catalog: Catalog, other: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await teams.add_team(catalog, "acme", "core")
    joins = asyncio.Event()
    insert = team_rows.insert_team_member

    def dawdle(transaction: Transaction, team_id: int, account_id: int) -> None:
        async def wait() -> None:
            joins.set()
            await asyncio.sleep(0.3)

        transaction.wait(wait)
        insert(transaction, team_id, account_id)

    monkeypatch.setattr(team_rows, "insert_team_member", dawdle)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(teams.add_team_member(catalog, "acme", "core", "bob"))
        await joins.wait()
        await accounts.remove_member(other, "acme", "bob")
    assert await teams.list_team_members(catalog, "acme", "core") == []


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("name", NO_NAMES)
async def test_what_can_be_no_name_names_nobody(catalog: Catalog, name: str) -> None:
    works: list[Awaitable[object]] = [
        accounts.disable_user(catalog, name),
        accounts.list_members(catalog, name),
        accounts.set_member(catalog, "acme", name, "member"),
        teams.list_team_members(catalog, "acme", name),
        sources.add_source(catalog, name, "code"),
        sources.change_source(catalog, f"acme/{name}", visibility=Visibility.PUBLIC),
        sources.set_source_role(catalog, f"{name}/code", "ada", Role.READ),
        tokens.create_token(catalog, name, scopes=["read:packages"]),
        tokens.revoke_token(catalog, name),
    ]
    for work in works:
        with pytest.raises(NotFound):
            await work
    assert await sources.list_sources(catalog, name) == []


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("note", ["a\0b", "\x1b[2J", "two\nlines", "\u2028", "\udcff", "\x9b1m"])
async def test_a_note_is_a_line_of_text(catalog: Catalog, note: str) -> None:
    with pytest.raises(RequestInvalid):
        await tokens.create_token(catalog, "ada", scopes=["read:packages"], note=note)
    assert await tokens.list_tokens(catalog, "ada") == []
    await tokens.create_token(catalog, "ada", scopes=["read:packages"], note="Büro, 2. Stock 💻")


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, 1e12, float("inf"), float("nan")])
async def test_a_token_expires_when_dates_can_tell(catalog: Catalog, lifetime_s: float) -> None:
    with pytest.raises(BlobdError, match="within ten years"):
        await tokens.create_token(catalog, "ada", scopes=["read:packages"], lifetime_s=lifetime_s)
