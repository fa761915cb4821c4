"""Sparse indexes: a client mirrors an index, and of its images only what it needs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import run_blobd
from tests.clients.commands import CommandFailed
from tests.clients.everyone import needs_skopeo
from tests.clients.registry_reader import Repository
from tests.daemon import Daemon
from tests.images import OCI, Image, Layout
from tests.layers import files_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.skopeo import Skopeo

_INDEX_ONLY = ("--multi-arch", "index-only")
_LAYER_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A registry that takes sparse indexes."""
    data = tmp_path_factory.mktemp("lenient") / "data"
    with Daemon(data, settings={"registry.sparse_indexes": "true"}) as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> list[Image]:
    """Images for two platforms, and an index of both under `all`."""
    layout = Layout(tmp_path / "layout")
    images = [
        layout.add_image(
            architecture,
            [layout.add_layer(files_below(Path("/usr"), at_most_bytes=_LAYER_BYTES))],
            architecture=architecture,
        )
        for architecture in ("amd64", "arm64")
    ]
    layout.add_index("all", [image.manifest for image in images], types=OCI)
    return images


@needs_skopeo
def test_an_index_alone_is_refused_where_nobody_said_otherwise(
    skopeo: Skopeo, layout: list[Image], repository: Repository
) -> None:
    """As most registries do: R48, MANIFEST_BLOB_UNKNOWN."""
    folder = layout[0].layout.folder
    # the client then tries Docker's format, and reports that
    with pytest.raises(CommandFailed):
        skopeo.push_layout(folder, "all", repository.at("v1"), *_INDEX_ONLY)
    assert repository.ask("manifests/v1").status == 404


@needs_skopeo
def test_an_index_is_mirrored_with_one_of_its_platforms(
    skopeo: Skopeo, layout: list[Image], lenient: Daemon
) -> None:
    """`--multi-arch index-only` beside one image: that one pulls, of the other one is told."""
    repository = Repository(lenient.registry, f"acme/mirror-{secrets.token_hex(4)}")
    folder = layout[0].layout.folder
    skopeo.push_layout(folder, "all", repository.at("v1"), *_INDEX_ONLY)
    skopeo.push_layout(folder, "amd64", repository.at("amd64"))
    for _ in range(2):
        named = repository.manifest("v1").json()["manifests"]
        assert [one["digest"] for one in named] == [image.manifest.digest for image in layout]
        pulled = skopeo.pull_layout(repository.by(layout[0].manifest.digest))
        assert pulled.is_dir()
        missing = repository.ask(f"manifests/{layout[1].manifest.digest}")
        assert missing.status == 404
        (error,) = missing.json()["errors"]
        assert error["code"] == "MANIFEST_UNKNOWN"
        assert "pushed without it" in error["message"]
        run = run_blobd("gc", "--data", lenient.data)
        assert run.returncode == 0, run.stderr
