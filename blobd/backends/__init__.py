"""Where bytes live. This is the only place that names concrete backends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never, cast

if TYPE_CHECKING:
    from typing import Literal

    from blobd.backends.base import Backend
    from blobd.config import Store
    from blobd.metrics import Metrics


def open_backend(store: Store, metrics: Metrics) -> Backend:
    """Return the configured backend, metered; the caller closes it.

    Blocks. Raises ConfigInvalid.
    """
    from blobd.backends.wrappers import Metered

    kind = cast("Literal['filesystem', 'memory']", store.backend)
    match kind:
        case "filesystem":
            from blobd.backends.filesystem import Filesystem

            return Metered(
                Filesystem(Path(store.path), durable=store.durability == "full"), metrics
            )
        case "memory":
            from blobd.backends.memory import Memory

            return Metered(Memory(), metrics)
        case _:
            assert_never(kind)
