"""Opening the store that a daemon has made, for commands that work on it directly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from blobd.app import Daemon
    from blobd.config import Config


def opened(config: Config, *, recognises: bool = True) -> AbstractAsyncContextManager[Daemon]:
    """Return the context of an existing store, opened as the daemon does.

    Raises ConfigInvalid where there is none: a misspelt folder should not look like an empty store;
    and where it `recognises` that store and catalog do not belong together.
    """
    # Loaded here, so that `blobd --help` does not wait for a server's imports.
    from blobd.app import open_daemon
    from blobd.data_folder import set_umask

    if config.store.backend == "memory":
        raise ConfigInvalid("store.backend = 'memory': lives in its daemon alone; use the blob API")
    is_local = config.store.backend == "filesystem" or not config.catalog.url
    if is_local and not Path(config.store.path).is_dir():
        raise ConfigInvalid(f"store.path = {config.store.path!r}: there is no such folder")
    set_umask(config)
    return open_daemon(config, recognises=recognises)
