"""What a client deletes is gone, and nothing else is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.clients.commands import CommandFailed
from tests.clients.everyone import needs_oras, needs_skopeo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.oras_files import Oras
    from tests.clients.registry_reader import Repository
    from tests.clients.skopeo import Skopeo
    from tests.images import Image


@needs_skopeo
def test_a_manifest_that_skopeo_deletes_is_gone_with_its_tags(
    skopeo: Skopeo, image: Image, repository: Repository, elsewhere: Repository
) -> None:
    """The digest and every tag to it answer 404 (R68); another repository still has it (R21)."""
    for tag in ("v1", "v2"):
        skopeo.push(image, repository.at(tag))
    skopeo.push(image, elsewhere.at("v1"))
    assert json.loads(skopeo.tags(repository))["Tags"] == ["v1", "v2"]

    skopeo.delete(repository.at("v1"))

    for reference in ("v1", "v2", image.manifest.digest):
        assert repository.ask(f"manifests/{reference}").status == 404
    with pytest.raises(CommandFailed, match="manifest unknown"):
        skopeo.pull(repository.at("v2"))
    assert skopeo.pull(elsewhere.at("v1")) == image.diff_ids
    skopeo.push(image, repository.at("v3"))
    assert skopeo.pull(repository.at("v3")) == image.diff_ids


@needs_skopeo
def test_a_deleted_blob_comes_back_with_the_next_push(
    skopeo: Skopeo, image: Image, repository: Repository
) -> None:
    """A deleted blob answers 404 at once (R69), so that the client sends or mounts it again."""
    skopeo.push(image, repository.at("v1"))
    skopeo.delete(repository.at("v1"))
    layer = image.layers[0].descriptor
    assert repository.ask(f"blobs/{layer.digest}", method="DELETE").status == 202
    assert repository.ask(f"blobs/{layer.digest}", method="HEAD").status == 404

    skopeo.push(image, repository.at("v1"))
    assert layer.digest in repository.blobs("v1")
    assert skopeo.pull(repository.at("v1")) == image.diff_ids


@needs_oras
def test_a_tag_that_oras_deletes_is_gone(
    oras: Oras, repository: Repository, tmp_path: Path
) -> None:
    """oras deletes the manifest that a tag names, by digest (R68)."""
    reference = repository.at("v1")
    note = tmp_path / "note.txt"
    note.write_text("blobd")
    oras.push_files([f"{note}:text/plain"], reference)
    oras.delete(reference)
    assert repository.ask("manifests/v1").status == 404
