"""What is noted beside the requests: downloads, last uses of tokens, the audit.

Each worker gathers, and writes all of it in one transaction twice a second, if there is something,
and at its end: a download is counted within two seconds. A crash loses the last seconds of counts;
nothing that was answered depends on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import BlobdError
from blobd.registry.catalog import audit, pulls, tokens
from blobd.registry.catalog.audit import Entry
from blobd.registry.catalog.repositories import find_repository

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.names import RepositoryName

WRITE_S = 0.5
"""How often it is written."""
INDEX_PULL_S = 60.0
"""How long after an index its children are not counted as downloads."""
SETTLE_S = 1.25
"""How long a download waits to be counted: another worker may have the index still unwritten."""
_GATHERED_MAX = 100_000

_log = logging.getLogger("blobd.audit")


@dataclass(frozen=True, slots=True)
class Pull:
    """A manifest that was sent."""

    repository: RepositoryName
    digest: Digest
    caller: str
    """Who got it: an account where one is known, and the address."""
    at: float
    is_index: bool


class ActivityRecorder:
    """Gathers and writes. One per worker."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._pulls: deque[Pull] = deque(maxlen=_GATHERED_MAX)
        self._indexes: deque[Pull] = deque(maxlen=_GATHERED_MAX)
        self._entries: deque[Entry] = deque(maxlen=_GATHERED_MAX)
        self._used_at: dict[str, float] = {}

    def pulled(self, pull: Pull) -> None:
        """Note a download."""
        self._pulls.append(pull)
        if pull.is_index:
            self._indexes.append(pull)

    def used(self, subject: Subject) -> None:
        """Note that a token was used."""
        if subject.token_id:
            self._used_at[subject.token_id] = self._catalog.now()

    def note(self, entry: Entry) -> None:
        """Note an action for the audit: in the log at once, in the catalog soon."""
        _log.info(
            "%s %s %s",
            entry.actor or "anonymous",
            entry.action,
            entry.package or "",
            extra={
                "actor": entry.actor,
                "action": entry.action,
                "package": entry.package,
                "digest": None if entry.digest is None else str(entry.digest),
                "detail": entry.detail,
                "token": entry.token_id,
                "address": entry.address,
            },
        )
        self._entries.append(entry)

    async def flush(self, *, settled_s: float = SETTLE_S) -> None:
        """Write what was gathered. Raises what the catalog raises; then it is kept for later."""
        now = self._catalog.now()
        indexes, entries, used_at = tuple(self._indexes), tuple(self._entries), self._used_at
        settled = tuple(pull for pull in self._pulls if pull.at <= now - settled_s)
        if not (indexes or entries or used_at or settled):
            return
        self._used_at = {}

        def write(transaction: Transaction) -> None:
            ids: dict[RepositoryName, int | None] = {}
            for pull in (*indexes, *settled):
                if pull.repository not in ids:
                    ids[pull.repository] = find_repository(transaction, pull.repository)
            for pull in indexes:
                package_id = ids[pull.repository]
                if package_id is not None:
                    pulls.note_index_pull(
                        transaction, package_id, pull.caller, pull.digest, at=pull.at
                    )
            pulls.count_downloads(transaction, _counted(transaction, settled, ids))
            pulls.forget_index_pulls(transaction, before=now - 2 * INDEX_PULL_S)
            tokens.note_uses(transaction, used_at)
            audit.write_entries(transaction, entries)

        try:
            await self._catalog.write(write, synced=False)
        except BaseException:
            self._used_at = used_at | self._used_at
            raise
        _drop(self._indexes, len(indexes))
        _drop(self._entries, len(entries))
        _drop(self._pulls, len(settled))

    async def run(self) -> None:
        """Write twice a second until cancelled, and then the rest."""
        try:
            while True:
                await asyncio.sleep(WRITE_S)
                await self._try_to_flush(SETTLE_S)
        finally:
            await self._try_to_flush(0.0)

    async def _try_to_flush(self, settled_s: float) -> None:
        try:
            await self.flush(settled_s=settled_s)
        except BlobdError as error:
            _log.warning("downloads and audit are not written yet: %s", error)


async def note_operator(catalog: Catalog, what: str, *, package: str | None = None) -> None:
    """Note in the audit what was done by the command line, to a package (OWNER/NAME) if any."""
    entry = Entry(catalog.now(), "", "operator", package=package, detail=what)
    await catalog.write(lambda transaction: audit.write_entries(transaction, [entry]))


async def forget_audit(catalog: Catalog, retention_s: float, *, now: float) -> None:
    """Remove what was done longer ago than it is to be known."""
    before = now - retention_s
    await catalog.write(lambda transaction: audit.forget_entries(transaction, before=before))


def _counted(
    transaction: Transaction,
    settled: tuple[Pull, ...],
    ids: dict[RepositoryName, int | None],
) -> dict[tuple[int, Digest], tuple[int, float]]:
    counted: dict[tuple[int, Digest], tuple[int, float]] = {}
    for pull in settled:
        package_id = ids[pull.repository]
        if package_id is None:
            continue
        if not pull.is_index and pulls.follows_index(
            transaction, package_id, pull.caller, pull.digest, at=pull.at, within_s=INDEX_PULL_S
        ):
            continue
        more, last = counted.get((package_id, pull.digest), (0, 0.0))
        counted[package_id, pull.digest] = more + 1, max(last, pull.at)
    return counted


def _drop(gathered: deque[Pull] | deque[Entry], count: int) -> None:
    for _ in range(min(count, len(gathered))):
        gathered.popleft()
