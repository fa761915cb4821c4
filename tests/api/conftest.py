"""One daemon for a module's tests, with the settings that the module names in SETTINGS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.served import Bystander, PassedBy, Served, until
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A running daemon, shared by a module; durability is for the crash tests."""
    settings = {"store.durability": "none", **getattr(request.module, "SETTINGS", {})}
    with Daemon(tmp_path_factory.mktemp("blobd") / "data", settings=settings) as daemon:
        yield Served(daemon)


@pytest.fixture
def tidy(served: Served) -> Iterator[None]:
    """Nothing is left of the test: no descriptor, buffer, connection or half of a blob."""
    before = served.sockets()
    yield
    until(served.is_at_rest, "the daemon is at rest")
    until(lambda: served.sockets() <= before, "its connections are closed")


@pytest.fixture(scope="module")
def passed_by(served: Served) -> PassedBy:
    return PassedBy.store(served)


@pytest.fixture
def undisturbed(tidy: None, served: Served, passed_by: PassedBy) -> Iterator[None]:
    """Someone else's transfers go on during the test (promise 9)."""
    with Bystander(served, passed_by):
        yield
