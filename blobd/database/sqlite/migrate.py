"""Bringing an SQLite file up to date, by any number of processes at once.

A lock file beside the database lets one process at a time look and migrate; it also covers the
switch to WAL, which SQLite does not queue for. All steps run in one transaction: a kill leaves
the tables of before.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import DatabaseError

from blobd.database.migrate import HEAD, VERSIONS, upgrade
from blobd.database.sqlite.reader import TEMPORARY_IN_MEMORY, escaped
from blobd.durable import sync_folder
from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry


def lock_path(path: Path) -> Path:
    """Return the file at which processes queue to migrate or write a catalog."""
    return path.with_name(path.name + ".lock")


def migrate(path: Path, *, durable: bool) -> None:
    """Make the database file where there is none, and its tables what this blobd expects.

    Blocks, and waits for other processes that do the same. Raises ConfigInvalid when the file
    cannot be used: not writable, not a catalog, or written by a newer blobd.
    """
    if _is_current(path):
        return
    name = f"catalog at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(lock_path(path)):
            _upgrade(path, name)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise ConfigInvalid(f"{name}: cannot be written ({error.strerror})") from error
    except DatabaseError as error:
        raise ConfigInvalid(f"{name}: cannot be used ({error.orig})") from error


def _is_current(path: Path) -> bool:
    """Return whether there is nothing to do; alembic reports whatever is odd."""
    try:
        with closing(sqlite3.connect(f"file:{escaped(path)}?mode=rw", uri=True)) as connection:
            versions = connection.execute(VERSIONS).fetchall()
            [(journal,)] = connection.execute("PRAGMA journal_mode").fetchall()
    except sqlite3.Error:
        return False
    return versions == [(HEAD,)] and journal == "wal"


def _upgrade(path: Path, name: str) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            upgrade(connection, name=name)
    finally:
        engine.dispose()


def _prepare(dbapi_connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(TEMPORARY_IN_MEMORY)
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN EXCLUSIVE")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
