"""docker, podman, skopeo and buildah share one auth file, whoever of them logged in."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.docker import open_docker
from tests.clients.everyone import opened
from tests.clients.podman import open_buildah, open_podman
from tests.clients.skopeo import open_skopeo
from tests.daemon import Daemon
from tests.images import Image, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.clients.client import Client

pytestmark = pytest.mark.needs("dockerd", "docker", "podman", "skopeo", "buildah", "root")

OPENERS: dict[str, Callable[..., AbstractContextManager[Client]]] = {
    "docker": open_docker,
    "podman": open_podman,
    "skopeo": open_skopeo,
    "buildah": open_buildah,
}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    data = tmp_path_factory.mktemp("closed") / "data"
    with Daemon(data, settings={"registry.auth": "true"}) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def auth_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="blobd-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def clients(auth_folder: Path) -> Iterator[dict[str, Client]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(opened(partial(opener, docker_config=auth_folder)))
            for name, opener in OPENERS.items()
        }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image of one small layer: what is tested is who may move it."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "file").write_text("content")
    layout = Layout(folder / "layout")
    return layout.add_image("small", [layout.add_layer([(folder / "file", "file")])])


@pytest.mark.parametrize("first", OPENERS)
def test_a_login_of_one_serves_all_four(
    closed: Daemon, clients: dict[str, Client], auth_folder: Path, small: Image, first: str
) -> None:
    """And so it does after each of the others has logged in over it."""
    secret = closed.first_token
    assert secret is not None
    (auth_folder / "config.json").unlink(missing_ok=True)
    clients[first].log_in(closed.registry, secret)
    for name, client in clients.items():
        client.push(small, f"{closed.registry}/admin/of-{first}-by-{name}:v1")
    second = [name for name in OPENERS if name != first]
    for name in [first, *second]:
        clients[name].log_in(closed.registry, secret)
        for puller, client in clients.items():
            client.forget()
            reference = f"{closed.registry}/admin/of-{first}-by-{puller}:v1"
            assert client.pull(reference) == small.diff_ids
