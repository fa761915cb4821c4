"""Comparing all that is stored with all that says so: the backend, the catalog, its manifests.

    missing      a blob whose bytes are gone                              damage
    size         a blob whose bytes have another length                   damage
    quarantined  a blob that was found damaged, and not pushed since      damage
    link         a repository's link to bytes that were never published   damage
    manifest     a manifest that names a blob its repository lacks        damage
    unnamed      bytes that no row of the catalog names
    unheld       a row that nobody holds and no collector knows of
    aside        bytes in quarantine of a digest that nobody knows
    others       what the backend finds in its folders (`Backend.orphans`)

The catalog's rows and the backend's blobs come in the same order, so that both are read once, side
by side, in memory that does not grow with them. Neither stands still meanwhile: pushes, mounts and
collectors go on, in any process. So what differs is a suspicion until a second look confirms it.
Missing and short bytes are looked at with the digest's row taken, which a collector takes too, and
passed over while one may be removing them; all else is asked of the catalog again. Bytes younger
than the grace are nobody's damage: power loss may leave them, and the push is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blobd.errors import BlobNotFound
from blobd.registry.catalog import inventory
from blobd.registry.documents import read_document
from blobd.registry.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from blobd.backends.base import BlobInfo
    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.references.quarantine import Quarantine
    from blobd.references.references import References
    from blobd.registry.catalog.inventory import BareLink, Naming, Page, Stock
    from blobd.store import BlobStore

DAMAGE = frozenset({"missing", "size", "quarantined", "link", "manifest"})
"""The kinds for which a pull fails."""
_PAGE = 2000
_MANIFESTS = 500

Progress = Callable[[int], None]
"""Called with how many of the catalog's digests have been looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that does not fit together."""

    kind: str
    name: str
    size_bytes: int | None = None
    done: str = ""
    """What was done about it: `quarantined`, `removed`, or `handed over` to collection."""

    @property
    def is_damage(self) -> bool:
        """Whether pulls fail for it."""
        return self.kind in DAMAGE

    @property
    def remains(self) -> bool:
        """Whether it will be found again: what is quarantined is damaged until it is pushed."""
        return self.is_damage or not self.done


@dataclass(frozen=True, slots=True)
class Fsck:
    """One comparison. Works beside daemons."""

    catalog: Catalog
    references: References
    store: BlobStore
    quarantine: Quarantine
    clock: Callable[[], float]
    grace_s: float
    repair: bool
    """Quarantine what is damaged, remove what crashes left, hand over what nobody holds."""
    collect_unnamed: bool
    """Hand bytes that no row names over to garbage collection, too."""

    async def run(self, progress: Progress) -> AsyncGenerator[Found]:
        """Yield what is found, having repaired it. Raises what catalog and backend raise.

        If cancelled: what was yielded is done.
        """
        async for found in self._blobs(progress):
            yield found
        async for found in self._manifests():
            yield found
        async for found in self._aside():
            yield found
        backend = self.store.backend
        async for orphan in backend.orphans(deep=True, remove=self.repair, clock=self.clock):
            done = "removed" if orphan.removed else ""
            yield Found(orphan.kind, orphan.name, orphan.size_bytes, done)

    async def count(self) -> int:
        """Return how many digests there are to look at."""
        return await self.catalog.read(inventory.count)

    async def _blobs(self, progress: Progress) -> AsyncIterator[Found]:
        stored = _Stored(
            self.store.backend.blobs(measured=True), before=self.clock() - self.grace_s
        )
        async for page in self._pages(progress):
            suspects: list[Stock] = []
            for row in page.stock:
                while not await stored.reach(row.digest):
                    async for found in self._unnamed(stored.passed()):
                        yield found
                if row.is_damaged or row.size_bytes not in {None, stored.size_of(row.digest)}:
                    suspects.append(row)
            async for found in self._page(page, suspects):
                yield found
        is_end = False
        while not is_end:
            is_end = await stored.reach(None)
            async for found in self._unnamed(stored.passed()):
                yield found

    async def _pages(self, progress: Progress) -> AsyncIterator[Page]:
        after: Digest | None = None
        done = 0
        while True:
            page = await self.catalog.read(
                partial(inventory.read_page, references=self.references, after=after, limit=_PAGE)
            )
            yield page
            done += len(page.stock)
            progress(done)
            if len(page.stock) < _PAGE:
                return
            after = page.stock[-1].digest

    async def _page(self, page: Page, suspects: Sequence[Stock]) -> AsyncIterator[Found]:
        damaged = {row.digest for row in suspects if row.is_damaged}
        if damaged:
            damaged = await self.catalog.read(partial(inventory.still_damaged, digests=damaged))
        for row in suspects:
            if row.digest in damaged:
                yield Found("quarantined", str(row.digest), row.size_bytes)
            elif row.size_bytes is not None:
                damage = await self.quarantine.measure(row.digest, put_aside=self.repair)
                if damage is not None:
                    done = "quarantined" if self.repair else ""
                    yield Found(damage.value, str(row.digest), row.size_bytes, done)
        for digest in page.unheld:
            yield Found(
                "unheld", str(digest), done=await self._hand_over(digest, wanted=self.repair)
            )
        bare: Sequence[BareLink] = page.bare_links
        if bare:
            bare = await self.catalog.read(partial(inventory.still_bare, found=bare))
        for link in bare:
            yield Found("link", f"{link.repository}@{link.digest}")

    async def _unnamed(self, seen: Sequence[BlobInfo]) -> AsyncIterator[Found]:
        """Yield those of some blobs that are still there, and unknown before and after that look.

        A collector removes bytes before their row, a push makes the row before the bytes.
        """
        measured: dict[Digest, int] = {}
        for digest in await self._unknown(seen):
            with suppress(BlobNotFound):
                measured[digest] = await self.store.backend.measure(digest)
        for digest in await self._unknown([info for info in seen if info.digest in measured]):
            done = await self._hand_over(digest, wanted=self.collect_unnamed)
            yield Found("unnamed", str(digest), measured[digest], done)

    async def _unknown(self, seen: Sequence[BlobInfo]) -> list[Digest]:
        digests = [info.digest for info in seen]
        known: set[Digest] = set()
        if digests:
            known = await self.catalog.read(partial(inventory.known, digests=digests))
        return [digest for digest in digests if digest not in known]

    async def _hand_over(self, digest: Digest, *, wanted: bool) -> str:
        if not wanted:
            return ""
        now = self.catalog.now()
        done = await self.catalog.write(
            partial(inventory.hand_over, digest=digest, references=self.references, now=now)
        )
        return "handed over" if done else ""

    async def _aside(self) -> AsyncIterator[Found]:
        """Yield what is kept aside and unknown, in two listings one after the other."""
        unknown = await self._unknown_aside()
        still = await self._unknown_aside() if unknown else {}
        for digest in sorted(unknown.keys() & still.keys()):
            done = await self._hand_over(digest, wanted=self.repair)
            yield Found("aside", str(digest), still[digest], done)

    async def _unknown_aside(self) -> dict[Digest, int]:
        seen = [info async for info in self.store.backend.quarantined()]
        unknown = set(await self._unknown(seen))
        return {info.digest: info.size_bytes for info in seen if info.digest in unknown}

    async def _manifests(self) -> AsyncIterator[Found]:
        after: tuple[int, Digest] | None = None
        while True:
            page, after = await self.catalog.read(
                partial(inventory.read_absent, after=after, limit=_MANIFESTS)
            )
            for naming in page:
                lacking = await self.catalog.read(partial(_lacking, naming=naming))
                if lacking:
                    blobs = " ".join(map(str, lacking))
                    name = f"{naming.repository}@{naming.manifest} lacks {blobs}"
                    yield Found("manifest", name)
            if after is None:
                return


class _Stored:
    """The backend's blobs beside the catalog's rows: what comes next, and what had no row.

    `before`: younger ones are passed over.
    """

    def __init__(self, blobs: AsyncIterator[BlobInfo], *, before: float) -> None:
        self._blobs = blobs
        self._next: BlobInfo | None = None
        self._is_begun = False
        self._before = before
        self._passed: list[BlobInfo] = []
        self._reached: BlobInfo | None = None

    async def reach(self, digest: Digest | None) -> bool:
        """Pass what comes before a digest, or all; return False where that is too much at once."""
        if not self._is_begun:
            self._is_begun = True
            self._next = await anext(self._blobs, None)
        while self._next is not None and (digest is None or self._next.digest < digest):
            if len(self._passed) == _PAGE:
                return False
            if self._next.stored_at < self._before:
                self._passed.append(self._next)
            self._next = await anext(self._blobs, None)
        if self._next is not None and self._next.digest == digest:
            self._reached, self._next = self._next, await anext(self._blobs, None)
        return True

    def size_of(self, digest: Digest) -> int | None:
        """Return the size in bytes of the blob that was reached; None where it is not there."""
        reached = self._reached
        return reached.size_bytes if reached is not None and reached.digest == digest else None

    def passed(self) -> list[BlobInfo]:
        """Return what had no row, once."""
        passed, self._passed = self._passed, []
        return passed


def _lacking(transaction: Transaction, *, naming: Naming) -> list[Digest]:
    """Return the blobs that a manifest needs and its repository still lacks.

    An index without all that it lists is no damage: it was pushed so, or they were deleted.
    """
    still = inventory.still_absent(transaction, naming)
    if still is None:
        return []
    content, media_type = inventory.content(transaction, naming)
    try:
        document = read_document(content, media_type)
    except ManifestInvalid:
        return sorted(still.absent)
    needed = {named.digest for named in document.blobs if named.required}
    return sorted(still.absent & needed)
