"""What crashes have left: removed in the background, and told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blobd.backends.base import Backend
    from blobd.metrics import Metrics

_log = logging.getLogger("blobd.upkeep")


async def sweep(backend: Backend, metrics: Metrics) -> None:
    """Remove what nobody can need any more. May run in several processes at once."""
    async for orphan in backend.orphans(deep=False, remove=True):
        metrics.orphans.labels(orphan.kind).inc()
        _log.info("removed %s %s, left by a crash", orphan.kind, orphan.name)
