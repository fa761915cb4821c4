"""Images go to the registry and come back, with every client."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import (
    BUILDAH,
    CONTAINERD,
    DOCKER,
    OF_IMAGES,
    PODMAN,
    SKOPEO,
    opened,
)

if TYPE_CHECKING:
    from tests.clients.client import Client
    from tests.clients.everyone import Opener
    from tests.clients.registry_reader import Repository
    from tests.daemon import Daemon
    from tests.images import Image

_NO_LAYER_BYTES = 64 * 1024
"""More than a configuration, less than any layer."""


def test_an_image_comes_back_identical_by_tag_and_by_digest(
    client: Client, image: Image, daemon: Daemon, repository: Repository
) -> None:
    """What is read are the bytes that were pushed (promise 1), whatever way they came."""
    client.push(image, repository.at("v1"))
    digest = repository.manifest("v1").headers["Docker-Content-Digest"]
    if client.sends_as_is:
        assert digest == image.manifest.digest
    before_bytes = daemon.metric("blobd_sent_bytes_total")
    blobs = repository.blobs("v1")
    stored_bytes = daemon.metric("blobd_sent_bytes_total") - before_bytes
    assert len(blobs) == 1 + len(image.layers)

    for reference in (repository.at("v1"), repository.by(digest)):
        client.forget()
        before_bytes = daemon.metric("blobd_sent_bytes_total")
        assert client.pull(reference) == image.diff_ids
        sent_bytes = daemon.metric("blobd_sent_bytes_total") - before_bytes
        assert sent_bytes > 0.9 * stored_bytes, "it must have come from the registry"


def test_pushing_again_sends_no_layer_twice(
    client: Client, image: Image, daemon: Daemon, repository: Repository
) -> None:
    """A client learns from HEAD what is there already (R23), and from nothing else."""
    sent_layers = []
    for tag in ("first", "first", "second"):
        before_bytes = daemon.metric("blobd_received_bytes_total")
        client.push(image, repository.at(tag))
        received_bytes = daemon.metric("blobd_received_bytes_total") - before_bytes
        sent_layers.append(received_bytes > _NO_LAYER_BYTES)
    assert sent_layers == [True, False, False]


@pytest.mark.parametrize("client", OF_IMAGES, indirect=True)
def test_what_another_repository_has_is_mounted_not_sent(
    client: Client, image: Image, daemon: Daemon, repository: Repository, elsewhere: Repository
) -> None:
    """A client that may read a blob elsewhere links it instead of sending it (R41)."""
    client.push(image, repository.at("v1"))
    # A client may overlook what it knows (skopeo's cache drops a record now and then), but only
    # now and then.
    for copy in (replace(elsewhere, name=f"{elsewhere.name}/{number}") for number in range(3)):
        before_bytes = daemon.metric("blobd_received_bytes_total")
        client.copy(repository.at("v1"), copy.at("v1"))
        received_bytes = daemon.metric("blobd_received_bytes_total") - before_bytes
        assert len(copy.blobs("v1")) == 1 + len(image.layers)
        if received_bytes < _NO_LAYER_BYTES:
            break
    else:
        pytest.fail("layers were sent each time")
    client.forget()
    assert client.pull(copy.at("v1")) == image.diff_ids


@pytest.mark.parametrize(
    ("client", "other"),
    [
        pytest.param(
            one.values[0], two.values[0], marks=[*one.marks, *two.marks], id=f"{one.id}-{two.id}"
        )
        for one, two in (
            (SKOPEO, DOCKER),
            (DOCKER, CONTAINERD),
            (CONTAINERD, PODMAN),
            (PODMAN, BUILDAH),
            (BUILDAH, SKOPEO),
        )
    ],
    indirect=["client"],
)
def test_what_one_client_pushes_another_pulls(
    client: Client, other: Opener[Client], image: Image, repository: Repository
) -> None:
    """The registry speaks no client's dialect."""
    reference = repository.at("v1")
    client.push(image, reference)
    with opened(other) as puller:
        assert puller.pull(reference) == image.diff_ids


@pytest.mark.parametrize("client", OF_IMAGES, indirect=True)
def test_an_image_outlives_a_crash_of_the_daemon(
    client: Client, image: Image, daemon: Daemon, repository: Repository
) -> None:
    """Once a push is answered, blobs, links, manifest and tag survive kill -9 (promise 3)."""
    reference = repository.at("v1")
    client.push(image, reference)
    daemon.kill()
    daemon.start()
    client.forget()
    assert client.pull(reference) == image.diff_ids
