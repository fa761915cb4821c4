"""Real clients, each in a home of its own, and an image of this machine's own files."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.containerd import open_containerd
from tests.clients.docker import open_docker
from tests.clients.everyone import OF_FILES, OF_IMAGES, opened
from tests.clients.oras_files import open_oras
from tests.clients.registry_reader import Repository
from tests.clients.skopeo import open_skopeo
from tests.daemon import Daemon
from tests.images import Image, Layout
from tests.layers import files_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.client import Client
    from tests.clients.containerd import Containerd
    from tests.clients.docker import Docker
    from tests.clients.oras_files import Oras
    from tests.clients.skopeo import Skopeo

_MIB = 1024 * 1024
_PARTS = (("/usr/bin", 24 * _MIB, True), ("/usr/lib", 12 * _MIB, False), ("/usr", 8 * _MIB, True))
"""Folder, bytes of it, and whether the layer is compressed."""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image of three layers of real files, compressed and plain, unlike any before."""
    layout = Layout(tmp_path_factory.mktemp("image") / "layout")
    layers = [
        layout.add_layer(files_below(Path(folder), at_most_bytes=size), compressed=compressed)
        for folder, size, compressed in _PARTS
    ]
    return layout.add_image("made", layers)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon of two workers: a client's requests go now to one, now to the other."""
    data = tmp_path_factory.mktemp("daemon") / "data"
    with Daemon(data, settings={"server.workers": "2"}) as running:
        yield running


@pytest.fixture
def repository(daemon: Daemon) -> Repository:
    """A repository that nobody has pushed to."""
    return Repository(daemon.registry, f"acme/image-{secrets.token_hex(4)}")


@pytest.fixture
def elsewhere(daemon: Daemon) -> Repository:
    """Another such repository."""
    return Repository(daemon.registry, f"other/copy-{secrets.token_hex(4)}")


@pytest.fixture(params=[*OF_IMAGES, *OF_FILES])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Each client in turn; a test may choose its own with `indirect` parameters."""
    with opened(request.param) as client:
        yield client


@pytest.fixture
def skopeo() -> Iterator[Skopeo]:
    with opened(open_skopeo) as client:
        yield client


@pytest.fixture
def containerd() -> Iterator[Containerd]:
    with opened(open_containerd) as client:
        yield client


@pytest.fixture
def docker() -> Iterator[Docker]:
    with opened(open_docker) as client:
        yield client


@pytest.fixture
def oras() -> Iterator[Oras]:
    with opened(open_oras) as client:
        yield client
