"""The history of the tables, applied: what is the same on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

HEAD = "0013"
"""The last of the migrations; a test holds it to them."""

VERSIONS = "SELECT version_num FROM alembic_version"
"""Finds `HEAD`, and nothing else, in a database that is up to date."""


def upgrade(connection: Connection, *, name: str) -> None:
    """Run all steps that are missing, in the transaction that the connection is in.

    `name` is how people know the database. Raises ConfigInvalid when a newer blobd wrote it.
    """
    # alembic takes 10 MB of memory, which no worker needs that finds the tables in order
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "blobd.database:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigInvalid(f"{name}: written by a newer blobd than this one ({error})") from error
