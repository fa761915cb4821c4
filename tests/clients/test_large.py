"""A layer larger than 2 GiB, with every client, and many clients at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import needs_skopeo, opened
from tests.clients.skopeo import open_skopeo
from tests.images import Layout
from tests.layers import files_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.client import Client
    from tests.clients.registry_reader import Repository
    from tests.daemon import Daemon
    from tests.images import Image

_GIB = 1024 * 1024 * 1024
_AT_ONCE = 6


@pytest.fixture(scope="module")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with a layer of more than 2 GiB, not compressed, and a small one."""
    layout = Layout(tmp_path_factory.mktemp("large-image") / "layout")
    large = layout.add_layer(_files(2 * _GIB), compressed=False)
    small = layout.add_layer(files_below(Path("/etc"), at_most_bytes=1024 * 1024))
    assert large.descriptor.size_bytes > 2 * _GIB
    return layout.add_image("large", [large, small])


def _files(at_least_bytes: int) -> Iterator[tuple[Path, str]]:
    """Find files of this machine, again and again under other names where it has too few."""
    done_bytes = 0
    for copy in range(1000):
        left_bytes = at_least_bytes + _GIB - done_bytes
        for path, name in files_below(Path("/usr"), at_most_bytes=left_bytes, prefix=f"{copy}"):
            yield path, name
            done_bytes += path.lstat().st_size if path.is_file() else 0
            if done_bytes > at_least_bytes:
                return


@pytest.mark.long
def test_a_layer_of_two_gibibytes_comes_back_identical(
    client: Client,
    large_image: Image,
    repository: Repository,
) -> None:
    """No size is special (promises 1 and 4)."""
    reference = repository.at("v1")
    client.push(large_image, reference)
    repository.blobs("v1")
    client.forget()
    assert client.pull(reference) == large_image.diff_ids


@needs_skopeo
def test_many_clients_at_once_do_not_disturb_each_other(
    image: Image, daemon: Daemon, repository: Repository
) -> None:
    """Equal layers pushed at one time by several clients are one blob each, whole (promise 1)."""
    references = [f"{repository.host}/{repository.name}/{n}:v1" for n in range(_AT_ONCE)]
    with ExitStack() as stack:
        clients = [stack.enter_context(opened(open_skopeo)) for _ in references]
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))
        pushes = [
            pool.submit(client.push, image, reference)
            for client, reference in zip(clients, references, strict=True)
        ]
        for push in pushes:
            push.result()
        pulls = [
            pool.submit(client.pull, reference)
            for client, reference in zip(clients, reversed(references), strict=True)
        ]
        for pull in pulls:
            assert pull.result() == image.diff_ids
    stored = {path.name for path in (daemon.data / "blobs" / "sha256").glob("*/*")}
    named = (image.config, *(layer.descriptor for layer in image.layers))
    assert stored >= {one.digest.removeprefix("sha256:") for one in named}
