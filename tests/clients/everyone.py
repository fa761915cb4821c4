"""Every client by name, as parameters of the `client` fixture, and what running it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.clients.containerd import open_containerd
from tests.clients.docker import open_docker
from tests.clients.oras_files import open_oras, open_oras_in_chunks
from tests.clients.podman import open_buildah, open_podman
from tests.clients.skopeo import open_skopeo

if TYPE_CHECKING:
    from collections.abc import Iterator

C = TypeVar("C")
Opener = Callable[[Path], AbstractContextManager[C]]

needs_skopeo = pytest.mark.needs("skopeo")
needs_podman = pytest.mark.needs("podman", "root")
needs_buildah = pytest.mark.needs("buildah", "root")
needs_containerd = pytest.mark.needs("containerd", "ctr", "root")
needs_docker = pytest.mark.needs("dockerd", "docker", "root")
needs_oras = pytest.mark.needs("oras")

SKOPEO = pytest.param(open_skopeo, marks=needs_skopeo, id="skopeo")
PODMAN = pytest.param(open_podman, marks=needs_podman, id="podman")
BUILDAH = pytest.param(open_buildah, marks=needs_buildah, id="buildah")
CONTAINERD = pytest.param(open_containerd, marks=needs_containerd, id="containerd")
DOCKER = pytest.param(open_docker, marks=needs_docker, id="docker")
ORAS = pytest.param(open_oras, marks=needs_oras, id="oras")
ORAS_IN_CHUNKS = pytest.param(open_oras_in_chunks, marks=needs_oras, id="oras-in-chunks")

OF_IMAGES = (SKOPEO, PODMAN, BUILDAH, CONTAINERD, DOCKER)
OF_FILES = (ORAS, ORAS_IN_CHUNKS)


@contextmanager
def opened(opener: Opener[C]) -> Iterator[C]:
    """Run a client in a home that is gone afterwards.

    Its path is short: engines put sockets deep below it, whose paths may have 108 characters.
    """
    with tempfile.TemporaryDirectory(prefix="blobd-") as home, opener(Path(home)) as client:
        yield client
