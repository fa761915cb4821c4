"""Signing keys: loaded by every process, made where there are none, and replaced in time.

A key that has been replaced verifies for as long as anything that it signed may live. In the
catalog keys are sealed (`auth/sealing.py`): where it is an SQLite file, with a secret in a file
of its own beside it; where it is PostgreSQL, with `registry.signing_key_secret`, which all
replicas have. Keys that are stored in another form are sealed anew at each start.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from blobd.data_folder import key_file
from blobd.database.opening import catalog_file, catalog_place
from blobd.errors import BackendUnavailable, ConfigInvalid
from blobd.registry.auth.bearer import SigningKey
from blobd.registry.auth.sealing import SECRET_MIN_CHARACTERS, Seal, Seals
from blobd.registry.catalog import signing_keys
from blobd.registry.catalog.signing_keys import StoredKey
from blobd.registry.identity.issue import REFRESH_LIFETIME_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.config import Config
    from blobd.database import Catalog, Transaction

_SIGNS_ON_S = 120.0
"""How long a key may sign on that was replaced: processes look for newer ones once a minute."""
_STEP_S = 0.001
_SETTING = "registry.signing_key_secret"

_log = logging.getLogger("blobd")


def open_seals(config: Config) -> Seals:
    """Return what signing keys are sealed with; the file of its secret is made where it is missing.

    Blocks. Raises ConfigInvalid.
    """
    secret = config.registry.signing_key_secret
    if secret and len(secret) < SECRET_MIN_CHARACTERS:
        raise ConfigInvalid(
            f"{_SETTING}: must have at least {SECRET_MIN_CHARACTERS} random characters, such as "
            "`openssl rand -hex 32` prints"
        )
    catalog = catalog_file(config)
    path = None if catalog is None else key_file(catalog)
    try:
        if secret:
            former = () if path is None or not path.exists() else (Seal(_read(path)),)
            return Seals(Seal(secret), former)
        if path is None:
            return Seals()
        if not path.exists():
            _make(path)
        return Seals(Seal(_read(path)), is_own=True)
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: the file of the secret that signing keys are encrypted with cannot be used "
            f"({error.strerror})"
        ) from error


def keys_lie_open(config: Config) -> bool:
    """Return whether signing keys are not encrypted in the database of a configuration."""
    if not config.registry.auth or config.registry.signing_key_secret:
        return False
    return not isinstance(catalog_place(config), Path)


async def settle_signing_keys(catalog: Catalog, seals: Seals) -> None:
    """Seal all keys with the current secret, at a start.

    Raises ConfigInvalid where there are keys, and none can be opened with the secrets that are
    known; if the secret is blobd's own, a new key is made instead.
    """

    def seal(transaction: Transaction) -> tuple[int, int]:
        signing_keys.lock_signing_keys(transaction)
        keys = signing_keys.list_signing_keys(transaction)
        opened = 0
        for key in keys:
            private = seals.open(key.kid, key.stored)
            if private is None:
                continue
            opened += 1
            if not seals.is_current(key.kid, key.stored):
                stored = seals.close(key.kid, private)
                signing_keys.replace_stored(transaction, key.kid, stored)
        return len(keys), opened

    found, opened = await catalog.write(seal)
    if opened or not found:
        return
    if not seals.is_own:
        raise ConfigInvalid(
            f"{_SETTING}: opens none of the signing keys in the catalog; set the one that they "
            "were encrypted with, or run `blobd key rotate` with the new one: then clients log in "
            "again, and passwords stay good"
        )
    _log.warning(
        "the secret of the signing keys is lost (signing.key): a new key signs, and clients that "
        "hold a token of an old one log in again"
    )
    await add_signing_key(catalog, seals)


async def load_signing_keys(catalog: Catalog, seals: Seals) -> Sequence[SigningKey]:
    """Return the keys in use, the newest first; the first one is made where there is none.

    Keys that were sealed with a secret that is not known are left out. Of several processes that
    find none at the same time one makes it. Raises BackendUnavailable when all are left out.
    """
    found = await catalog.read(signing_keys.list_signing_keys)
    if found:
        return _opened(found, seals)
    now = catalog.now()

    def make(transaction: Transaction) -> list[StoredKey]:
        signing_keys.lock_signing_keys(transaction)
        if not signing_keys.list_signing_keys(transaction):
            _insert(transaction, SigningKey.make(now=now), seals)
        return signing_keys.list_signing_keys(transaction)

    return _opened(await catalog.write(make), seals)


async def add_signing_key(catalog: Catalog, seals: Seals) -> Sequence[SigningKey]:
    """Make a key that signs from now on, and return all in use, the new one first.

    Keys go that were replaced before anything signed with them could still be alive.
    """
    now = catalog.now()

    def add(transaction: Transaction) -> list[StoredKey]:
        signing_keys.lock_signing_keys(transaction)
        keys = signing_keys.list_signing_keys(transaction)
        # the newest signs: also where the clock was ahead when the last one was made
        made_at = max([now, *(old.created_at + _STEP_S for old in keys)])
        _insert(transaction, SigningKey.make(now=made_at), seals)
        replaced = [
            old
            for old, newer in zip(keys[1:], keys, strict=False)
            if newer.created_at < now - _SIGNS_ON_S - REFRESH_LIFETIME_S
        ]
        for old in replaced:
            signing_keys.delete_signing_key(transaction, old.kid)
        return signing_keys.list_signing_keys(transaction)

    return _opened(await catalog.write(add), seals)


def _insert(transaction: Transaction, key: SigningKey, seals: Seals) -> None:
    stored = StoredKey(key.kid, seals.close(key.kid, key.private), key.created_at)
    signing_keys.insert_signing_key(transaction, stored)


def _opened(keys: Sequence[StoredKey], seals: Seals) -> list[SigningKey]:
    pairs = ((key, seals.open(key.kid, key.stored)) for key in keys)
    opened = [SigningKey(key.kid, private, key.created_at) for key, private in pairs if private]
    if keys and not opened:
        raise BackendUnavailable(
            f"the signing keys are encrypted with another secret than this process has: {_SETTING} "
            "must be the same in all replicas"
        )
    return opened


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _make(path: Path) -> None:
    """Write a new secret; of several processes that do so at once, one wins whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, f"{secrets.token_hex(32)}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
