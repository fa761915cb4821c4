"""Downloads that several workers send are counted once each, and show while somebody waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.registry.access.conftest import Client, basic
from tests.registry.acts import index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = "admin/counted"
_PULLS = 20
_WITHIN_S = 30


@pytest.fixture
def two_workers(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """The client of the administrator of a daemon with two workers."""
    settings = {"store.durability": "none", "server.workers": "2", "registry.auth": "true"}
    if kind == "postgresql":
        settings["catalog.url"] = request.getfixturevalue("postgres").create_database()
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        assert daemon.first_token is not None
        yield Client(daemon.registry, basic(daemon.first_token))


def counts(client: Client) -> dict[str, int]:
    found = client.get("/api/user/packages/container/counted/versions").json()
    return {version["name"]: version["download_count"] for version in found}


def test_two_workers_count_an_index_and_not_its_children(two_workers: Client) -> None:
    client = two_workers
    child = client.push_image(_NAME)
    listing = client.put_manifest(_NAME, "v1", index(child)).headers["Docker-Content-Digest"]
    for _ in range(_PULLS):  # each by a connection of its own, so by either worker
        assert client.get(f"/v2/{_NAME}/manifests/v1").status == 200
        assert client.get(f"/v2/{_NAME}/manifests/{child}").status == 200
    deadline = time.monotonic() + _WITHIN_S
    while (seen := counts(client))[listing] < _PULLS and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen == {listing: _PULLS, child: 0}
