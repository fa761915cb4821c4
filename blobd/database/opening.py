"""Which database the catalog is in, and opening it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from blobd.database.sqlite.catalog import open_sqlite
from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from blobd.config import Config
    from blobd.database.catalog import Catalog, Clock

_SERVER = ("postgresql", "postgres", "postgresql+asyncpg")
_WRONG = (
    "catalog.url: must name an SQLite file, as sqlite:////folder/file does, or a PostgreSQL "
    "database, as postgresql://user:password@host/database does"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A database on a PostgreSQL server, as libpq's URLs name it."""

    url: str = field(repr=False)


def open_catalog(
    place: Path | Server, *, durable: bool, clock: Clock = time.time
) -> AbstractAsyncContextManager[Catalog]:
    """Migrate where needed and open the catalog; any number of processes may have it open.

    `durable`: what was committed survives power loss, and not only a crash of blobd.
    Raises ConfigInvalid.
    """
    if isinstance(place, Path):
        return open_sqlite(place, durable=durable, clock=clock)
    # Loaded here: what it needs is an extra, and takes memory.
    from blobd.database.postgresql.catalog import open_postgresql

    return open_postgresql(place.url, durable=durable, clock=clock)


def load_catalog(place: Path | Server) -> None:
    """Import what a catalog there needs, for processes that are forked afterwards."""
    if isinstance(place, Server):
        import_module("blobd.database.postgresql.catalog")


def catalog_file(config: Config) -> Path | None:
    """Return the catalog's file, where it is one that outlives the daemon. Raises ConfigInvalid."""
    place = catalog_place(config)
    if isinstance(place, Server) or (config.store.backend == "memory" and not config.catalog.url):
        return None
    return place


def catalog_place(config: Config) -> Path | Server:
    """Return where the configured catalog is. Raises ConfigInvalid."""
    text = config.catalog.url
    if not text:
        return Path(config.store.path) / "catalog.sqlite"
    scheme, separator, rest = text.partition("://")
    if separator and scheme in _SERVER:
        if find_spec("asyncpg") is None or find_spec("greenlet") is None:
            raise ConfigInvalid(
                "catalog.url: PostgreSQL needs asyncpg; install blobd with the extra "
                "`postgresql`: pip install 'blobd[postgresql]'"
            )
        return Server(f"postgresql://{rest}")
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigInvalid(_WRONG) from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigInvalid(_WRONG)
    return Path(url.database)
