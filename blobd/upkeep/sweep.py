"""What crashes left behind: removed in the background, and logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.backends.base import Backend
    from blobd.metrics import Metrics

_log = logging.getLogger("blobd.upkeep")


async def sweep(backend: Backend, metrics: Metrics, *, clock: Callable[[], float]) -> None:
    """Remove what nothing can need; `clock` says what is old.

    May run in several processes at once.
    """
    async for orphan in backend.orphans(deep=False, remove=True, clock=clock):
        metrics.orphans.labels(orphan.kind).inc()
        _log.info("removed %s %s, left by a crash", orphan.kind, orphan.name)
