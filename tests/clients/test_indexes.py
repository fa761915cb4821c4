"""Indexes for two platforms: all that they name goes along, and each platform finds its own."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import (
    BUILDAH,
    PODMAN,
    needs_containerd,
    needs_docker,
    needs_skopeo,
)
from tests.images import DOCKER, OCI, Layout, MediaTypes
from tests.layers import files_below

if TYPE_CHECKING:
    from tests.clients.containerd import Containerd
    from tests.clients.docker import Docker
    from tests.clients.podman import Podman
    from tests.clients.registry_reader import Repository
    from tests.clients.skopeo import Skopeo
    from tests.images import Descriptor, Image

_LAYER_BYTES = 4 * 1024 * 1024
_TAG = "all"


@pytest.fixture
def platforms(tmp_path: Path) -> list[Image]:
    """Images for amd64 and arm64, and an index of both under `all`, in one layout."""
    images, _ = _platforms(tmp_path / "layout", OCI)
    return images


def _platforms(folder: Path, types: MediaTypes) -> tuple[list[Image], Descriptor]:
    layout = Layout(folder)
    images = [
        layout.add_image(
            architecture,
            [layout.add_layer(files_below(Path("/usr"), at_most_bytes=_LAYER_BYTES), types=types)],
            types=types,
            architecture=architecture,
        )
        for architecture in ("amd64", "arm64")
    ]
    return images, layout.add_index(_TAG, [image.manifest for image in images], types=types)


@needs_skopeo
@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
def test_skopeo_copies_an_index_and_all_it_names_there_and_back(
    skopeo: Skopeo,
    repository: Repository,
    tmp_path: Path,
    types: MediaTypes,
) -> None:
    """Indexes and manifests are kept byte for byte (R15, R43)."""
    images, index = _platforms(tmp_path / "layout", types)
    layout = images[0].layout
    reference = repository.at("v1")
    skopeo.push_directory(layout, index, reference, "--all")
    pulled = skopeo.pull_directory(reference, "--all")
    came = {hashlib.sha256(path.read_bytes()).hexdigest() for path in pulled.iterdir()}
    assert came == {path.name for path in layout.blobs()}

    stored = repository.manifest("v1")
    assert stored.headers["Content-Type"] == types.index
    assert stored.body == layout.read(index)
    for image in images:
        manifest = repository.manifest(image.manifest.digest)
        assert manifest.headers["Content-Type"] == types.manifest
        assert manifest.body == layout.read(image.manifest)


@pytest.mark.parametrize("client", [PODMAN, BUILDAH], indirect=True)
def test_an_index_that_a_client_makes_and_pushes_is_whole(
    client: Podman,
    platforms: list[Image],
    repository: Repository,
) -> None:
    """The index names both platforms, each with its own layers."""
    client.push_index(platforms, repository.at("v1"))
    named = repository.manifest("v1").json()["manifests"]
    assert {one["platform"]["architecture"] for one in named} == {"amd64", "arm64"}
    blobs = [set(repository.blobs(one["digest"])) for one in named]
    assert not blobs[0] & blobs[1]


@needs_containerd
def test_containerd_pushes_an_index_with_all_it_names(
    containerd: Containerd,
    platforms: list[Image],
    repository: Repository,
) -> None:
    """ctr sends children before the index that names them (R48), as they are."""
    layout = platforms[0].layout
    containerd.push_layout(layout.folder, _TAG, repository.at("v1"))
    for image in platforms:
        found = repository.manifest(image.manifest.digest)
        assert found.body == layout.read(image.manifest)
        repository.blobs(image.manifest.digest)


@needs_skopeo
@needs_docker
def test_docker_pulls_its_platform_out_of_an_index(
    skopeo: Skopeo, docker: Docker, platforms: list[Image], repository: Repository
) -> None:
    """A tag may lead to an index; the client follows it by digest (R15)."""
    reference = repository.at("v1")
    skopeo.push_layout(platforms[0].layout.folder, _TAG, reference, "--all")
    assert docker.pull(reference) == platforms[_this_platform()].diff_ids


@needs_skopeo
def test_an_index_survives_its_own_tag(
    skopeo: Skopeo, platforms: list[Image], repository: Repository
) -> None:
    """A tag moved away leaves the manifest, which its digest still names."""
    layout = platforms[0].layout
    skopeo.push_layout(layout.folder, _TAG, repository.at("v1"), "--all")
    before = skopeo.inspect(repository.at("v1"))
    skopeo.push_layout(layout.folder, "arm64", repository.at("v1"))
    after = json.loads(skopeo.inspect(repository.at("v1")))
    assert after["layers"][0]["digest"] == platforms[1].layers[0].descriptor.digest
    digest = json.loads((layout.folder / "index.json").read_text())["manifests"][2]["digest"]
    assert skopeo.inspect(repository.by(digest)) == before


def _this_platform() -> int:
    """Return the place in `platforms` of the one that this machine runs."""
    return 1 if platform.machine() in {"aarch64", "arm64"} else 0
