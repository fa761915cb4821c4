"""Repositories by name, in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from blobd.database.statements import upsert
from blobd.registry.catalog.tables import repositories

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.database import Transaction
    from blobd.registry.names import RepositoryName

    Maker = Callable[[Transaction], int]
    """Returns the id of a repository, which is made where there is none."""

_FIND = select(repositories.c.id).where(repositories.c.name == bindparam("name"))


def find_repository(transaction: Transaction, name: RepositoryName) -> int | None:
    """Return a repository's id, if there is one."""
    rows = transaction.fetch(_FIND, {"name": name})
    return rows[0][0] if rows else None


def maker(name: RepositoryName, *, now: float) -> Maker:
    """Return what makes a repository that is nobody's."""
    return lambda transaction: make_repository(transaction, name, now=now)


def make_repository(transaction: Transaction, name: RepositoryName, *, now: float) -> int:
    """Return a repository's id; the repository is made where there is none."""
    found = find_repository(transaction, name)
    if found is not None:
        return found
    row = {"name": name, "created_at": now}
    upsert(transaction, repositories, row, replace=[], unique=("name",))
    made = find_repository(transaction, name)
    if made is None:
        raise AssertionError(f"repository {name} was inserted and is not there")
    return made
