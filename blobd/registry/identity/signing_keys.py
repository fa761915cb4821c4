"""Signing keys: loaded by every process, made where there are none, and replaced in time.

A key that has been replaced verifies for as long as anything that it signed may live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.registry.auth.bearer import SigningKey
from blobd.registry.catalog import signing_keys
from blobd.registry.identity.issue import REFRESH_LIFETIME_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.registry.catalog import Catalog, Transaction


async def load_signing_keys(catalog: Catalog) -> Sequence[SigningKey]:
    """Return the keys in use, the newest first; the first one is made where there is none.

    Several processes that find none at the same time may make one each: all of them count.
    """
    found = await catalog.read(signing_keys.list_signing_keys)
    return found or await add_signing_key(catalog)


async def add_signing_key(catalog: Catalog) -> Sequence[SigningKey]:
    """Make a key that signs from now on, and return all in use.

    Keys go that were replaced before anything signed with them could still be alive.
    """
    key = SigningKey.make(now=catalog.now())

    def add(transaction: Transaction) -> list[SigningKey]:
        keys = signing_keys.list_signing_keys(transaction)
        signing_keys.insert_signing_key(transaction, key)
        replaced = [
            old
            for old, newer in zip(keys[1:], keys, strict=False)
            if newer.created_at < key.created_at - REFRESH_LIFETIME_S
        ]
        for old in replaced:
            signing_keys.delete_signing_key(transaction, old.kid)
        return signing_keys.list_signing_keys(transaction)

    return await catalog.write(add)
