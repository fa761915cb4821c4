"""Signing keys at rest: sealed, sealed anew by themselves, and never lost without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.errors import BackendUnavailable, ConfigInvalid
from blobd.registry.auth.sealing import Seal, Seals
from blobd.registry.catalog import signing_keys
from blobd.registry.identity.signing_keys import (
    add_signing_key,
    load_signing_keys,
    settle_signing_keys,
)

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.registry.auth.bearer import SigningKey

FIRST, SECOND = Seal("first " * 8), Seal("second " * 8)


async def stored(catalog: Catalog) -> dict[str, bytes]:
    found = await catalog.read(signing_keys.list_signing_keys)
    return {key.kid: key.stored for key in found}


async def one_key(catalog: Catalog, seals: Seals) -> SigningKey:
    (key,) = await load_signing_keys(catalog, seals)
    return key


async def test_what_the_catalog_holds_is_worth_nothing_without_the_secret(
    catalog: Catalog,
) -> None:
    key = await one_key(catalog, Seals(FIRST))
    (sealed,) = (await stored(catalog)).values()
    assert key.private not in sealed
    assert len(sealed) == 61
    assert FIRST.open(key.kid, sealed) == key.private
    assert SECOND.open(key.kid, sealed) is None
    assert FIRST.open("another", sealed) is None, "a row cannot stand in for another"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    assert FIRST.open(key.kid, changed) is None
    assert FIRST.open(key.kid, b"") is None
    assert FIRST.open(key.kid, b"\x01") is None


async def test_keys_in_another_form_are_sealed_anew_and_stay_the_same_keys(
    catalog: Catalog,
) -> None:
    key = await one_key(catalog, Seals())
    assert list((await stored(catalog)).values()) == [key.private]
    await settle_signing_keys(catalog, Seals(FIRST))
    first = await stored(catalog)
    assert key.private not in first[key.kid]
    assert await one_key(catalog, Seals(FIRST)) == key
    await settle_signing_keys(catalog, Seals(SECOND, former=(FIRST,)))
    assert await one_key(catalog, Seals(SECOND)) == key
    second = await stored(catalog)
    await settle_signing_keys(catalog, Seals(SECOND))
    assert await stored(catalog) == second, "what is right is not written again"


async def test_rotation_goes_on_under_a_seal(catalog: Catalog) -> None:
    old = await one_key(catalog, Seals(FIRST))
    new, kept = await add_signing_key(catalog, Seals(FIRST))
    assert kept == old
    assert new.kid != old.kid
    assert all(len(each) == 61 for each in (await stored(catalog)).values())


async def test_a_wrong_secret_is_refused_and_a_new_key_is_the_way_out(catalog: Catalog) -> None:
    await load_signing_keys(catalog, Seals(FIRST))
    with pytest.raises(ConfigInvalid, match=r"signing_key_secret: opens none .* key rotate"):
        await settle_signing_keys(catalog, Seals(SECOND))
    with pytest.raises(BackendUnavailable, match="same in all replicas"):
        await load_signing_keys(catalog, Seals(SECOND))
    (new,) = await add_signing_key(catalog, Seals(SECOND))
    await settle_signing_keys(catalog, Seals(SECOND))
    assert await load_signing_keys(catalog, Seals(SECOND)) == [new]
    assert len(await load_signing_keys(catalog, Seals(FIRST))) == 1, "others go on with theirs"


async def test_a_lost_secret_of_its_own_is_replaced(catalog: Catalog) -> None:
    old = await one_key(catalog, Seals(FIRST, is_own=True))
    await settle_signing_keys(catalog, Seals(SECOND, is_own=True))
    new = await one_key(catalog, Seals(SECOND))
    assert new.kid != old.kid
