"""Other daemons on the same catalog, and whether their settings agree with this one's.

Each daemon has a lease in the catalog with its settings, renewed while it lives. So a daemon that
stopped, was killed on this machine, or has been silent for a minute binds nobody, and one whose
operator changed a setting starts as ever. Between living daemons:

    what differs                        what happens
    where blobs are                     refused at the start: collection by one catalog would
                                        remove rows of blobs that lie elsewhere
    how long things are kept            the longest counts in all of them, with a warning
    what is taken                       each keeps to its own, with a warning
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blobd import graces
from blobd.durable import boot_id
from blobd.errors import BlobdError, ConfigInvalid
from blobd.references import daemons

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from blobd.config import Config
    from blobd.database import Catalog
    from blobd.graces import Graces
    from blobd.references.daemons import Lease

RENEW_S = 20.0
LEASE_S = 60.0

_WHERE = ("store.backend", "s3.bucket", "s3.prefix")
_TAKEN = (
    "limits.max_blob_bytes",
    "limits.max_manifest_bytes",
    "upkeep.orphan_grace_s",
    "registry.sparse_indexes",
    "registry.allow_unpublish",
)

_log = logging.getLogger("blobd")


class Neighbours:
    """One per process; the process of a daemon that runs its jobs is in `joined`."""

    def __init__(self, catalog: Catalog, config: Config, kept: Graces) -> None:
        """`kept` is widened to what neighbours keep, whenever they are looked at."""
        self._catalog = catalog
        self._kept = kept
        self._settings = {name: _value(config, name) for name in _names(config)}
        self._id = secrets.token_hex(16)
        self._host, self._boot = socket.gethostname()[:255], boot_id()
        self._warned: set[tuple[str, str, str]] = set()

    async def check(self) -> None:
        """Raise ConfigInvalid where a living daemon has its blobs elsewhere."""
        for other, settings in await self._others():
            for name in _WHERE:
                theirs, ours = settings.get(name), self._settings.get(name)
                if theirs != ours:
                    raise ConfigInvalid(
                        f"{name} = {ours!r}: {_who(other)} uses this catalog with {theirs!r}; set "
                        "both alike, give each a catalog of its own, or stop that one first"
                    )

    async def look(self) -> None:
        """Keep things as long as any living daemon does; warn once of each setting that differs."""
        others = await self._others()
        self._kept.keep_to([self._settings, *(settings for _, settings in others)])
        for other, settings in others:
            for name in (*graces.SETTINGS, *_TAKEN):
                if name in settings and settings[name] != self._settings[name]:
                    self._warn(other, name, settings[name])

    async def renew(self) -> None:
        """Renew the lease, and look."""
        await self._write()
        await self.look()

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[None]:
        """Have a lease while the block runs. The caller renews it every RENEW_S."""
        await self.renew()
        try:
            yield
        finally:
            try:
                await self._catalog.write(
                    lambda transaction: daemons.end(transaction, self._id), synced=False
                )
            except BlobdError as error:
                _log.info("this daemon's lease is left to lapse: %s", error)

    async def _write(self) -> None:
        lease = daemons.Lease(
            self._id,
            self._host,
            self._boot,
            os.getpid(),
            self._catalog.now(),
            json.dumps(self._settings),
        )
        await self._catalog.write(
            lambda transaction: daemons.renew(transaction, lease), synced=False
        )

    async def _others(self) -> list[tuple[Lease, Mapping[str, object]]]:
        found = await self._catalog.read(daemons.leases)
        now = self._catalog.now()
        return [
            (lease, json.loads(lease.settings))
            for lease in found
            if lease.id != self._id and abs(now - lease.seen_at) < LEASE_S and self._lives(lease)
        ]

    def _lives(self, lease: Lease) -> bool:
        """Return whether a process may still run: known only of those on this machine."""
        if (lease.host, lease.boot) != (self._host, self._boot):
            return True
        if lease.pid == os.getpid():
            return False  # it had this number before
        try:
            os.kill(lease.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def _warn(self, other: Lease, name: str, theirs: object) -> None:
        key = other.id, name, str(theirs)
        if key in self._warned:
            return
        self._warned.add(key)
        what = "the longest counts in both" if name in graces.SETTINGS else "each keeps to its own"
        _log.warning(
            "%s is %s here and %s in %s: %s; set both alike",
            name,
            self._settings[name],
            theirs,
            _who(other),
            what,
        )


def _names(config: Config) -> tuple[str, ...]:
    where = _WHERE if config.store.backend == "s3" else _WHERE[:1]
    return (*where, *graces.SETTINGS, *_TAKEN)


def _value(config: Config, name: str) -> object:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def _who(lease: Lease) -> str:
    return f"the daemon on {lease.host} (process {lease.pid})"
