"""The whole contract. A backend passes it by subclassing with a `site`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.backends.acts import off_loop
from tests.backends.contract_blobs import BlobsContract
from tests.backends.contract_cancelled import CancelledContract
from tests.backends.contract_quarantine import QuarantineContract
from tests.backends.contract_stagings import StagingsContract
from tests.backends.contract_takeover import TakeoverContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.backends.base import Backend
    from tests.backends.sites import Site


class BackendContract(
    BlobsContract, QuarantineContract, StagingsContract, TakeoverContract, CancelledContract
):
    """Every half-sentence of `blobd/backends/base.py`, each with its test."""

    @pytest.fixture
    def site(self) -> Site:
        """Where the backend keeps its bytes; one per test."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, site: Site) -> Backend:
        return site.open()

    @pytest.fixture
    async def backend(self, opened: Backend, site: Site) -> AsyncIterator[Backend]:
        """A backend on the site; whatever the test did, nothing strange may lie there after it."""
        yield opened
        await opened.aclose()
        assert await off_loop(site.leftovers) == []
