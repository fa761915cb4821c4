"""Opening the store that a daemon has made, for commands that work on it directly."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from blobd.app import Daemon
    from blobd.config import Config
    from blobd.database import Catalog

T = TypeVar("T")


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


def on_daemon(config: Config, work: Callable[[Daemon], Awaitable[T]]) -> T:
    """Return what the work returns on an existing store and its catalog."""

    async def run() -> T:
        async with opened(config) as daemon:
            return await work(daemon)

    return asyncio.run(run())


def on_catalog(config: Config, work: Callable[[Catalog], Awaitable[T]]) -> T:
    """Return what the work returns on the catalog of a configuration."""
    return on_daemon(config, lambda daemon: work(daemon.catalog))


def change(
    config: Config,
    work: Callable[[Catalog], Awaitable[T]],
    *,
    noted: str,
    said: str | None,
    package: str | None = None,
) -> T:
    """Return what the work returns, which changes the catalog of a configuration.

    It is `noted` in the audit as what the operator did, to a `package` if it is one's, and `said`
    on standard output; None: the caller prints what was made.
    """

    from blobd.registry.packages.activity import note_operator

    async def run(catalog: Catalog) -> T:
        done = await work(catalog)
        await note_operator(catalog, noted, package=package)
        return done

    done = on_catalog(config, run)
    if said is not None:
        click.echo(said)
    return done
