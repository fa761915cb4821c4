"""Artifacts that say something about an image, found by what they are about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.clients.everyone import needs_oras, needs_skopeo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.oras_files import Oras
    from tests.clients.registry_reader import Repository
    from tests.clients.skopeo import Skopeo
    from tests.images import Image

_SBOM = "application/vnd.example.sbom+json"


@needs_skopeo
@needs_oras
def test_what_oras_attaches_to_an_image_is_found_by_its_referrers(
    skopeo: Skopeo,
    oras: Oras,
    image: Image,
    repository: Repository,
    tmp_path: Path,
) -> None:
    """A manifest with a subject is listed for it (R47, R60), and pulled by what is listed."""
    skopeo.push(image, repository.at("v1"))
    assert repository.referrers(image.manifest.digest) == []

    sbom = tmp_path / "sbom.json"
    sbom.write_text(json.dumps({"files": image.diff_ids}))
    oras.push_files([f"{sbom}:{_SBOM}"], repository.at("sbom"), subject=image.manifest)

    [found] = repository.referrers(image.manifest.digest)
    pushed = repository.manifest("sbom")
    assert found["digest"] == pushed.headers["Docker-Content-Digest"]
    assert found["size"] == len(pushed.body)
    assert found["artifactType"] == pushed.json()["config"]["mediaType"]
    [pulled] = oras.pull_files(repository.by(found["digest"]))
    assert pulled.read_bytes() == sbom.read_bytes()


@needs_skopeo
def test_an_artifact_may_come_before_its_subject(
    skopeo: Skopeo,
    image: Image,
    repository: Repository,
) -> None:
    """A subject need not be there (R47); the artifact's type and annotations are listed (R61)."""
    artifact = image.layout.add_artifact("sbom", b"{}", _SBOM, subject=image.manifest)
    skopeo.push_layout(image.layout.folder, "sbom", repository.at("sbom"))
    for _ in range(2):
        [found] = repository.referrers(image.manifest.digest)
        assert found["digest"] == artifact.digest
        assert found["artifactType"] == _SBOM
        assert found["annotations"]
        skopeo.push(image, repository.at("v1"))
