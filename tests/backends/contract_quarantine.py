"""The contract's quarantine (B11), and the cheap look at sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.errors import BlobNotFound
from tests.backends.acts import digest_of, fetch, listed, off_loop, store

if TYPE_CHECKING:
    from blobd.backends.base import Backend
    from blobd.digest import Digest
    from tests.backends.sites import Site

DATA = b"bytes that somebody harmed"
ABSENT = digest_of(b"never stored")


async def aside(backend: Backend) -> list[tuple[Digest, int]]:
    return [(info.digest, info.size_bytes) async for info in backend.quarantined()]


class QuarantineContract:
    """Promises about bytes that are kept aside."""

    async def test_quarantined_bytes_are_no_blob_and_stay(self, backend: Backend) -> None:
        """B11: no verb but `quarantined` sees them."""
        digest, other = await store(backend, DATA), await store(backend, b"other")
        await backend.quarantine(digest)
        with pytest.raises(BlobNotFound):
            await backend.stat(digest)
        with pytest.raises(BlobNotFound):
            await backend.open(digest)
        assert await listed(backend) == [other]
        assert await aside(backend) == [(digest, len(DATA))]

    async def test_a_quarantine_outlives_the_process(self, backend: Backend, site: Site) -> None:
        """B11: in any process."""
        digest = await store(backend, DATA)
        await backend.quarantine(digest)
        again = await off_loop(site.open)
        try:
            with pytest.raises(BlobNotFound):
                await again.stat(digest)
            assert await aside(again) == [(digest, len(DATA))]
        finally:
            await again.aclose()

    async def test_a_commit_ends_a_quarantine(self, backend: Backend) -> None:
        """B11: the bytes that were kept are dropped."""
        digest = await store(backend, DATA)
        await backend.quarantine(digest)
        assert await store(backend, DATA) == digest
        assert await fetch(backend, digest) == DATA
        assert await aside(backend) == []
        assert await listed(backend) == [digest]

    async def test_a_delete_drops_what_is_kept_aside(self, backend: Backend) -> None:
        """delete: or what is quarantined under its digest."""
        digest = await store(backend, DATA)
        await backend.quarantine(digest)
        assert await backend.delete(digest) == len(DATA)
        assert await aside(backend) == []
        with pytest.raises(BlobNotFound):
            await backend.delete(digest)

    async def test_nothing_is_quarantined_where_nothing_is(self, backend: Backend) -> None:
        """quarantine: does nothing, nor on what is kept aside already."""
        await backend.quarantine(ABSENT)
        assert await aside(backend) == []
        digest = await store(backend, DATA)
        await backend.quarantine(digest)
        await backend.quarantine(digest)
        assert await aside(backend) == [(digest, len(DATA))]

    async def test_a_glance_shows_sizes_where_it_is_cheap(self, backend: Backend) -> None:
        """glance: each blob's size as stored now, or None for all."""
        digest, gone = await store(backend, DATA), await store(backend, b"gone")
        await backend.quarantine(gone)
        found = await backend.glance([ABSENT, digest, gone])
        assert found is None or list(found) == [None, len(DATA), None]
