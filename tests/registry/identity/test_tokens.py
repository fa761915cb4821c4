"""Who is made first, and what tokens stand for, on both databases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import jwt
import pytest

from blobd.database import open_catalog
from blobd.errors import Refused
from blobd.http.errors import RequestInvalid
from blobd.registry.auth.attempts import Attempts
from blobd.registry.auth.bearer import ACCESS, Claims, Keyring, SigningKey
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.auth.roles import SCOPES
from blobd.registry.auth.sealing import Seals
from blobd.registry.auth.subjects import WorkflowOf
from blobd.registry.catalog.tokens import note_uses
from blobd.registry.errors import NotFound, TokenRefused
from blobd.registry.identity import accounts, sources, tokens
from blobd.registry.identity.authenticator import Authenticator
from blobd.registry.identity.first import first_administrator
from blobd.registry.identity.issue import REFRESH_LIFETIME_S
from blobd.registry.identity.signing_keys import add_signing_key, load_signing_keys
from tests.registry.acts import asked

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.database import Catalog
    from blobd.database.opening import Server
    from tests.registry.acts import Clock


@pytest.fixture
def authenticator(catalog: Catalog, clock: Clock) -> Authenticator:
    async def load() -> object:
        return await load_signing_keys(catalog, Seals())

    keyring = Keyring(load, audience="here", clock=clock)  # type: ignore[arg-type]
    return Authenticator(catalog, keyring, Attempts(clock))


async def test_of_processes_that_begin_together_one_makes_the_administrator(
    place: Path | Server, catalog: Catalog
) -> None:
    async with (
        open_catalog(place, durable=False) as one,
        open_catalog(place, durable=False) as other,
    ):
        made = await asyncio.gather(
            *(first_administrator(each) for each in (catalog, one, other) for _ in range(3))
        )
    assert sum(each is not None for each in made) == 1
    assert await asked(catalog, "SELECT name FROM accounts") == ["admin"]
    assert len(await asked(catalog, "SELECT id FROM tokens")) == 1


async def test_the_first_administrator_may_everything(
    catalog: Catalog, authenticator: Authenticator
) -> None:
    first = await first_administrator(catalog)
    assert first is not None
    subject = (await authenticator.by_secret(first.secret, "::1")).subject
    assert (subject.name, subject.is_administrator) == ("admin", True)
    assert subject.scopes == frozenset(SCOPES)


async def test_a_namespace_from_before_does_not_become_the_administrator(catalog: Catalog) -> None:
    await accounts.add_user(catalog, "someone")
    await accounts.add_organisation(catalog, "admin", owner="someone")
    first = await first_administrator(catalog)
    assert first is not None
    assert first.name == "administrator"


async def test_only_a_hash_of_a_token_is_kept(catalog: Catalog) -> None:
    await accounts.add_user(catalog, "ada")
    made = await tokens.create_token(catalog, "ada", scopes=["read:packages"])
    for column in ("id", "secret_hash", "hint", "note", "scopes"):
        for text in await asked(catalog, f"SELECT {column} FROM tokens"):
            assert made.secret not in text


async def test_a_token_ends_in_its_time(
    catalog: Catalog, authenticator: Authenticator, clock: Clock
) -> None:
    await accounts.add_user(catalog, "ada")
    made = await tokens.create_token(catalog, "ada", scopes=["write:packages"], lifetime_s=60)
    assert (await authenticator.by_secret(made.secret, "::1")).expires_at == clock() + 60
    clock.advance(61)
    with pytest.raises(TokenRefused, match="expired"):
        await authenticator.by_secret(made.secret, "::1")


async def test_tokens_that_cannot_be(catalog: Catalog) -> None:
    await accounts.add_user(catalog, "ada")
    for scopes in ([], ["admin"], ["read:packages", "repo"]):
        with pytest.raises(RequestInvalid):
            await tokens.create_token(catalog, "ada", scopes=scopes)
    with pytest.raises(RequestInvalid):
        await tokens.create_token(catalog, "ada", scopes=SCOPES, note="x" * 256)
    with pytest.raises(NotFound):
        await tokens.create_token(catalog, "bob", scopes=SCOPES)


async def test_a_workflow_has_a_token_for_a_while(
    catalog: Catalog, authenticator: Authenticator, clock: Clock
) -> None:
    await accounts.add_user(catalog, "ada")
    await sources.add_source(catalog, "ada", "code")
    made = await tokens.issue_workflow_token(catalog, "ada/code", "automation", voucher="ada")
    subject = (await authenticator.by_secret(made.secret, "::1")).subject
    (source_id,) = await asked(catalog, "SELECT id FROM sources")
    assert subject.workflow == WorkflowOf(source_id, "automation")
    assert not subject.is_administrator
    assert await tokens.list_tokens(catalog, "ada") == []
    with pytest.raises(RequestInvalid):
        await tokens.issue_workflow_token(catalog, "ada/code", "personal", voucher="ada")
    with pytest.raises(Refused):
        await tokens.issue_workflow_token(
            catalog, "ada/code", "automation", voucher="ada", lifetime_s=90_000
        )
    clock.advance(3601)
    with pytest.raises(TokenRefused, match="expired"):
        await authenticator.by_secret(made.secret, "::1")
    clock.advance(40 * 86_400)
    await tokens.issue_workflow_token(catalog, "ada/code", "automation", voucher="ada")
    assert len(await asked(catalog, "SELECT id FROM tokens")) == 1
    await sources.remove_source(catalog, "ada/code")
    assert await asked(catalog, "SELECT id FROM tokens") == []


async def test_the_last_use_never_goes_back(catalog: Catalog) -> None:
    await accounts.add_user(catalog, "ada")
    made = await tokens.create_token(catalog, "ada", scopes=SCOPES)
    for at in (100.0, 300.0, 200.0):
        await catalog.write(lambda transaction, at=at: note_uses(transaction, {made.token_id: at}))  # type: ignore[misc]
    (listed,) = await tokens.list_tokens(catalog, "ada")
    assert listed.last_used_at == 300.0


async def test_a_replaced_key_stays_as_long_as_what_it_signed(
    catalog: Catalog, clock: Clock
) -> None:
    (first,) = await load_signing_keys(catalog, Seals())
    clock.advance(10)
    second, kept = await add_signing_key(catalog, Seals())
    assert kept == first
    # whoever has not looked for newer keys yet signs with the old one for a while
    clock.advance(REFRESH_LIFETIME_S + 60)
    third, *rest = await add_signing_key(catalog, Seals())
    assert rest == [second, first]
    clock.advance(61)
    _, *rest = await add_signing_key(catalog, Seals())
    assert rest == [third, second]


async def test_of_processes_that_begin_together_one_makes_the_key(
    place: Path | Server, catalog: Catalog
) -> None:
    async with open_catalog(place, durable=False) as other:
        found = await asyncio.gather(
            *(load_signing_keys(each, Seals()) for each in (catalog, other) for _ in range(3))
        )
    (key,) = found[0]
    assert all(list(each) == [key] for each in found)


async def test_a_new_key_signs_whatever_the_clock_was(catalog: Catalog, clock: Clock) -> None:
    (ahead,) = await load_signing_keys(catalog, Seals())
    clock.advance(-3600)
    new, *old = await add_signing_key(catalog, Seals())
    assert old == [ahead]
    assert new.created_at > ahead.created_at

    async def load() -> list[SigningKey]:
        return list(await load_signing_keys(catalog, Seals()))

    keyring = Keyring(load, audience="here", clock=clock)
    claims = Claims(ACCESS, "ada", "t", NamedScopes(()), clock(), clock() + 60)
    signed = await keyring.sign(claims)
    assert jwt.get_unverified_header(signed)["kid"] == new.kid
    assert (await keyring.verify(signed, use=ACCESS)).account == "ada"
