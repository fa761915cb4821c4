"""What lists show is what requests for each of it would be allowed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from blobd.registry.auth.decide import Decision, decide
from blobd.registry.auth.roles import Action
from blobd.registry.catalog.access import readable
from blobd.registry.catalog.auth_queries import AuthQueries
from blobd.registry.catalog.tables import packages, repositories
from blobd.registry.names import RepositoryName
from tests.registry.identity.worlds import PACKAGES, fill_at_random, subjects

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.registry.auth.subjects import Subject


async def listed(catalog: Catalog, subject: Subject) -> set[str]:
    """Return the names of the packages that a list would show."""
    query = (
        select(repositories.c.name)
        .join(packages, packages.c.repository_id == repositories.c.id)
        .where(readable(subject))
    )
    return await catalog.read(lambda transaction: set(transaction.execute(query).scalars()))


@pytest.mark.parametrize("seed", range(8))
async def test_lists_show_exactly_what_may_be_read(catalog: Catalog, seed: int) -> None:
    await fill_at_random(catalog, Random(seed))
    names = await catalog.read(
        lambda transaction: list(transaction.execute(select(repositories.c.name)).scalars())
    )
    assert len(names) == PACKAGES
    shown: set[int] = set()
    for subject in subjects():
        allowed = set()
        for name in names:
            standing = await AuthQueries(catalog.reader).facts(subject, RepositoryName(name))
            if decide(subject, standing, Action.READ) is Decision.ALLOWED:
                allowed.add(name)
        assert await listed(catalog, subject) == allowed, subject
        shown.add(len(allowed))
    assert len(shown) > 5  # so the subjects do differ
