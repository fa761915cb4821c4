"""Docker's older formats, and layers that no registry may hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import needs_docker, needs_skopeo
from tests.images import DOCKER, OCI, Layout, MediaTypes, foreign_layer
from tests.layers import files_below

if TYPE_CHECKING:
    from tests.clients.docker import Docker
    from tests.clients.registry_reader import Repository
    from tests.clients.skopeo import Skopeo

_LAYER_BYTES = 4 * 1024 * 1024


@needs_skopeo
@needs_docker
def test_a_docker_schema_2_image_is_kept_as_it_is(
    skopeo: Skopeo,
    docker: Docker,
    repository: Repository,
    tmp_path: Path,
) -> None:
    """Manifests are never converted (R20, R43), and docker pulls its own kind."""
    layout = Layout(tmp_path / "layout")
    files = files_below(Path("/usr"), at_most_bytes=_LAYER_BYTES)
    image = layout.add_image("v1", [layout.add_layer(files, types=DOCKER)], types=DOCKER)
    reference = repository.at("v1")
    skopeo.push_directory(layout, image.manifest, reference)
    manifest = repository.manifest("v1")
    assert manifest.headers["Content-Type"] == DOCKER.manifest
    assert manifest.body == layout.read(image.manifest)
    assert docker.pull(reference) == image.diff_ids


@needs_skopeo
@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
def test_a_layer_that_lives_elsewhere_is_named_but_not_sent(
    skopeo: Skopeo,
    repository: Repository,
    tmp_path: Path,
    types: MediaTypes,
) -> None:
    """Non-distributable layers are exempt from the reference check (R48)."""
    layout = Layout(tmp_path / "layout")
    files = files_below(Path("/usr"), at_most_bytes=_LAYER_BYTES)
    here, elsewhere = (layout.add_layer(files, types=types) for _ in range(2))
    foreign = foreign_layer(elsewhere, "https://layers.example.org/one", types=types)
    image = layout.add_image("v1", [foreign, here], types=types)
    skopeo.push_directory(layout, image.manifest, repository.at("v1"))
    assert repository.manifest("v1").body == layout.read(image.manifest)
    blobs = {
        layer.descriptor.digest: repository.ask(f"blobs/{layer.descriptor.digest}", method="HEAD")
        for layer in (here, elsewhere)
    }
    assert [answer.status for answer in blobs.values()] == [200, 404]
