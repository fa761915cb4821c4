"""Which database the catalog is in, and opening it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from blobd.errors import ConfigInvalid
from blobd.registry.catalog.sqlite.catalog import open_sqlite

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from blobd.config import Config
    from blobd.registry.catalog.catalog import Catalog, Clock


def open_catalog(
    place: Path, *, durable: bool, clock: Clock = time.time
) -> AbstractAsyncContextManager[Catalog]:
    """Migrate where needed and open the catalog; any number of processes may have it open.

    `durable`: what was committed survives power loss, and not only a crash of blobd.
    Raises ConfigInvalid.
    """
    return open_sqlite(place, durable=durable, clock=clock)


def catalog_place(config: Config) -> Path:
    """Return the file of the configured catalog. Raises ConfigInvalid."""
    if not config.catalog.url:
        return Path(config.store.path) / "catalog.sqlite"
    try:
        url = make_url(config.catalog.url)
    except ArgumentError as error:
        raise ConfigInvalid("catalog.url: must be a URL such as sqlite:////folder/file") from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigInvalid("catalog.url: must name an SQLite file, as sqlite:////folder/file does")
    return Path(url.database)
