"""Layers that are damaged in storage: every client fails to pull them, and heals them by a push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.commands import CommandFailed
from tests.clients.everyone import OF_IMAGES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.client import Client
    from tests.clients.registry_reader import Repository
    from tests.daemon import Daemon
    from tests.images import Image


def layer_file(daemon: Daemon, repository: Repository, number: int) -> Path:
    digest: str = repository.manifest("v1").json()["layers"][number]["digest"]
    algorithm, _, encoded = digest.partition(":")
    return daemon.data / "blobs" / algorithm / encoded[:2] / encoded


@pytest.mark.parametrize("client", OF_IMAGES, indirect=True)
@pytest.mark.parametrize("harm", ["removed", "cut"])
def test_the_same_push_again_heals_a_damaged_layer(
    client: Client, image: Image, daemon: Daemon, repository: Repository, harm: str
) -> None:
    """A pull fails and is found out; HEAD says 404, so the push sends the layer again."""
    client.push(image, repository.at("v1"))
    whole = repository.blobs("v1")
    file = layer_file(daemon, repository, 1)
    if harm == "removed":
        file.unlink()
    else:
        file.chmod(0o600)
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size - 1_000_000)
    before = daemon.metric("blobd_quarantined_blobs_total")
    client.forget()
    with pytest.raises(CommandFailed):
        client.pull(repository.at("v1"))
    assert daemon.metric("blobd_quarantined_blobs_total") == before + 1

    client.push(image, repository.at("v1"))
    assert repository.blobs("v1") == whole
    client.forget()
    assert client.pull(repository.at("v1")) == image.diff_ids
