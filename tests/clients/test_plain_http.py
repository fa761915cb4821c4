"""Clients that try HTTPS first and go on in plain HTTP only if they are answered in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.clients.everyone import needs_docker, needs_skopeo, opened
from tests.clients.skopeo import open_skopeo

if TYPE_CHECKING:
    from tests.clients.docker import Docker
    from tests.clients.registry_reader import Repository
    from tests.images import Image


@needs_docker
@needs_skopeo
def test_docker_manifest_goes_on_in_plain_http(
    docker: Docker, image: Image, repository: Repository
) -> None:
    """Docker's command line itself asks, and gives up where its TLS hello is hung up on."""
    with opened(open_skopeo) as skopeo:
        skopeo.push(image, repository.at("v1"))
    shown = docker.run("manifest", "inspect", "--insecure", repository.at("v1"))
    assert json.loads(shown) == json.loads(repository.manifest("v1").body)
