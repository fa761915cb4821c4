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

_SIGNS_ON_S = 120.0
"""How long a key may sign on that was replaced: processes look for newer ones once a minute."""
_STEP_S = 0.001


async def load_signing_keys(catalog: Catalog) -> Sequence[SigningKey]:
    """Return the keys in use, the newest first; the first one is made where there is none.

    Of several processes that find none at the same time one makes it.
    """
    found = await catalog.read(signing_keys.list_signing_keys)
    if found:
        return found
    now = catalog.now()

    def make(transaction: Transaction) -> list[SigningKey]:
        signing_keys.lock_signing_keys(transaction)
        if not signing_keys.list_signing_keys(transaction):
            signing_keys.insert_signing_key(transaction, SigningKey.make(now=now))
        return signing_keys.list_signing_keys(transaction)

    return await catalog.write(make)


async def add_signing_key(catalog: Catalog) -> Sequence[SigningKey]:
    """Make a key that signs from now on, and return all in use, the new one first.

    Keys go that were replaced before anything signed with them could still be alive.
    """
    now = catalog.now()

    def add(transaction: Transaction) -> list[SigningKey]:
        signing_keys.lock_signing_keys(transaction)
        keys = signing_keys.list_signing_keys(transaction)
        # the newest signs: also where the clock was ahead when the last one was made
        made_at = max([now, *(old.created_at + _STEP_S for old in keys)])
        signing_keys.insert_signing_key(transaction, SigningKey.make(now=made_at))
        replaced = [
            old
            for old, newer in zip(keys[1:], keys, strict=False)
            if newer.created_at < now - _SIGNS_ON_S - REFRESH_LIFETIME_S
        ]
        for old in replaced:
            signing_keys.delete_signing_key(transaction, old.kid)
        return signing_keys.list_signing_keys(transaction)

    return await catalog.write(add)
