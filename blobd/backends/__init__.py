"""Where bytes live. This is the only place that names concrete backends."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, assert_never, cast

if TYPE_CHECKING:
    from typing import Literal

    from blobd.backends.base import Backend
    from blobd.config import Config
    from blobd.fairness import Tally
    from blobd.metrics import Metrics
    from blobd.quota import Share

_MODULES = {
    "filesystem": "blobd.backends.filesystem.backend",
    "memory": "blobd.backends.memory",
    "s3": "blobd.backends.s3.backend",
}


def load_backend(config: Config) -> None:
    """Import the configured backend, for processes that are forked afterwards."""
    import_module(_MODULES[config.store.backend])


def open_backend(
    config: Config, metrics: Metrics, parts: Share, parts_of: Tally | None = None
) -> Backend:
    """Return the configured backend, metered; the caller closes it.

    `parts` is for the memory of parts on their way to S3, `parts_of` what each account has of it.

    Blocks. Raises ConfigInvalid.
    """
    from blobd.backends.wrappers import Metered

    store = config.store
    kind = cast("Literal['filesystem', 'memory', 's3']", store.backend)
    match kind:
        case "filesystem":
            from blobd.backends.filesystem.backend import Filesystem

            return Metered(
                Filesystem(Path(store.path), durable=store.durability == "full"), metrics
            )
        case "memory":
            from blobd.backends.memory import Memory

            return Metered(Memory(), metrics)
        case "s3":
            from blobd.backends.s3.backend import S3

            return Metered(S3(config, metrics, parts, parts_of), metrics)
        case _:
            assert_never(kind)
