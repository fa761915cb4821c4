"""The holds of all repositories against a model of dictionaries (promises 10 and 11)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from blobd.api.holds import ApiHolder
from blobd.backends.memory import Memory
from blobd.database import open_catalog
from blobd.errors import BlobNotFound
from blobd.metrics import Metrics
from blobd.references.collection import collect
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.catalog.tables import metadata
from blobd.registry.errors import BlobReferenced, ManifestReferencesUnknown
from blobd.registry.links import LinkUses, RepositoryHolder, mount
from blobd.registry.manifests import Manifests
from blobd.registry.names import RepositoryName
from blobd.store import BlobStore
from blobd.threads import Threads
from tests.backends.acts import digest_of, fetch
from tests.registry.acts import REFERENCES, Clock, delete_manifest, image, push, push_as, roots_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

    from blobd.database import Catalog, Transaction
    from blobd.database.opening import Server
    from blobd.digest import Digest

T = TypeVar("T")

GRACE_S = 86_400.0
REPOSITORIES = [RepositoryName("a/a"), RepositoryName("b/b")]
BLOBS = {digest_of(data): data for data in (b"one", b"two", b"three")}
DIGESTS = sorted(BLOBS)

repositories = st.sampled_from(REPOSITORIES)
digests = st.sampled_from(DIGESTS)


class Holding(RuleBasedStateMachine):
    """Pushes, mounts, deletes, manifests, the blob API, time, and garbage collection."""

    def __init__(self, place: Path | Server) -> None:
        super().__init__()
        self._place = place
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stack = AsyncExitStack()
        self._clock = Clock()
        self._links: dict[tuple[RepositoryName, Digest], float] = {}
        self._manifests: dict[tuple[RepositoryName, Digest], set[Digest]] = {}
        self._api: set[Digest] = set()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    @initialize()
    def open(self) -> None:
        self._catalog = self._run(self._open())
        self._store = BlobStore(Memory(), Metrics())
        self._holder = ApiHolder(self._catalog, REFERENCES, self._store)
        self._link_uses = LinkUses(self._catalog, unnamed_link_grace_s=GRACE_S)
        self._roots = roots_of(self._catalog, unnamed_link_grace_s=GRACE_S)
        threads = Threads(1, "manifests")
        self._stack.callback(threads.close)
        self._real_manifests = Manifests(self._catalog, threads)

    async def _open(self) -> Catalog:
        catalog = await self._stack.enter_async_context(
            open_catalog(self._place, durable=False, clock=self._clock)
        )
        await catalog.write(_empty)
        return catalog

    def teardown(self) -> None:
        self._run(self._stack.aclose())
        self._runner.close()

    @rule(repository=repositories, digest=digests)
    def push(self, repository: RepositoryName, digest: Digest) -> None:
        self._run(push(self._catalog, self._store, BLOBS[digest], repository))
        self._links[repository, digest] = self._clock()

    @rule(into=repositories, source=repositories | st.none(), digest=digests)
    def mount(self, into: RepositoryName, source: RepositoryName | None, digest: Digest) -> None:
        done = self._run(mount(self._catalog, digest, into=into, source=source, subject=EVERYONE))
        among = REPOSITORIES if source is None else [source, into]
        assert done == any((name, digest) in self._links for name in among)
        if done:
            self._links[into, digest] = self._clock()

    @rule(repository=repositories, digest=digests)
    def release(self, repository: RepositoryName, digest: Digest) -> None:
        holder = RepositoryHolder(self._catalog, repository)
        if self._is_named(repository, digest):
            with pytest.raises(BlobReferenced):
                self._run(holder.release(digest))
            return
        there = self._links.pop((repository, digest), None) is not None
        assert there == self._released(holder, digest)

    def _is_named(self, repository: RepositoryName, digest: Digest) -> bool:
        return any(
            name == repository and digest in names for (name, _), names in self._manifests.items()
        )

    def _released(self, holder: RepositoryHolder | ApiHolder, digest: Digest) -> bool:
        try:
            self._run(holder.release(digest))
        except BlobNotFound:
            return False
        return True

    @rule(repository=repositories, digest=digests)
    def use(self, repository: RepositoryName, digest: Digest) -> None:
        link = self._run(self._link_uses.use(repository, digest))
        self._run(self._link_uses.flush())
        touched_at = self._links.get((repository, digest))
        assert (link is not None) == (touched_at is not None)
        if touched_at is not None and self._clock() - touched_at >= 3600:
            self._links[repository, digest] = self._clock()

    @rule(repository=repositories, named=st.sets(digests, min_size=1))
    def put_manifest(self, repository: RepositoryName, named: set[Digest]) -> None:
        content = image(*sorted(named))
        digest = digest_of(content)
        allowed = all((repository, each) in self._links for each in named)
        put = self._real_manifests.put(repository, digest, content=content, content_type=None)
        try:
            self._run(put)
        except ManifestReferencesUnknown:
            assert not allowed
        else:
            assert allowed
            self._manifests[repository, digest] = set(named)

    @rule(data=st.data())
    def delete_manifest(self, data: st.DataObject) -> None:
        if self._manifests:
            key = data.draw(st.sampled_from(sorted(self._manifests, key=str)))
            repository, digest = key
            self._run(delete_manifest(self._catalog, repository, digest))
            del self._manifests[key]

    @rule(digest=digests)
    def give_to_the_api(self, digest: Digest) -> None:
        self._run(push_as(self._holder, self._store, BLOBS[digest]))
        self._api.add(digest)

    @rule(digest=digests)
    def take_from_the_api(self, digest: Digest) -> None:
        there = digest in self._api
        self._api.discard(digest)
        assert there == self._released(self._holder, digest)

    @rule(hours=st.sampled_from([0.5, 2, 13, 25]))
    def wait(self, hours: float) -> None:
        self._clock.advance(hours * 3600)

    @rule()
    def collect(self) -> None:
        foreseen = self._run(self._collected(dry_run=True))
        went = self._run(self._collected(dry_run=False))
        assert foreseen == went
        now = self._clock()
        for (repository, digest), touched_at in list(self._links.items()):
            named = self._is_named(repository, digest)
            if not named and now - touched_at > GRACE_S:
                del self._links[repository, digest]
        for digest in DIGESTS:
            held = digest in self._api or any(digest == each for _, each in self._links)
            assert held == self._run(self._is_stored(digest)), "what nobody holds is gone"
        assert not any(goes for _, goes in self._run(self._collected(dry_run=True)))

    async def _collected(self, *, dry_run: bool) -> list[tuple[Digest, bool]]:
        verdicts = collect(self._roots, self._store, Metrics(), dry_run=dry_run)
        return [(verdict.digest, verdict.goes) async for verdict in verdicts]

    async def _is_stored(self, digest: Digest) -> bool:
        try:
            return await fetch(self._store.backend, digest) == BLOBS[digest]
        except BlobNotFound:
            return False

    @invariant()
    def what_is_held_can_be_read(self) -> None:
        for repository in REPOSITORIES:
            for digest in DIGESTS:
                link = self._run(ReadQueries(self._catalog.reader).link(repository, digest))
                assert (link is not None) == ((repository, digest) in self._links)
        for digest in {*self._api, *(digest for _, digest in self._links)}:
            assert self._run(self._is_stored(digest))


def _empty(transaction: Transaction) -> None:
    for table in reversed(metadata.sorted_tables):
        transaction.execute(delete(table))


def test_whatever_happens_what_is_held_stays_and_the_rest_goes(
    kind: str, place: Path | Server
) -> None:
    """Promises 10 and 11, in any order of events."""
    run_state_machine_as_test(
        partial(Holding, place),  # type: ignore[arg-type]  # a factory will do
        settings=settings(
            max_examples=40 if kind == "sqlite" else 20, stateful_step_count=30, deadline=None
        ),
    )
