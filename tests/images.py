"""Real images, made on the spot, in OCI layouts: images, indexes, artifacts."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.layers import pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"


@dataclass(frozen=True, slots=True)
class MediaTypes:
    """What one family of formats calls its parts."""

    manifest: str
    index: str
    config: str
    layer: str
    layer_gzip: str
    foreign_layer: str


OCI = MediaTypes(
    manifest=f"{_OCI}.manifest.v1+json",
    index=f"{_OCI}.index.v1+json",
    config=f"{_OCI}.config.v1+json",
    layer=f"{_OCI}.layer.v1.tar",
    layer_gzip=f"{_OCI}.layer.v1.tar+gzip",
    foreign_layer=f"{_OCI}.layer.nondistributable.v1.tar+gzip",
)
DOCKER = MediaTypes(
    manifest=f"{_DOCKER}.distribution.manifest.v2+json",
    index=f"{_DOCKER}.distribution.manifest.list.v2+json",
    config=f"{_DOCKER}.container.image.v1+json",
    layer=f"{_DOCKER}.image.rootfs.diff.tar",
    layer_gzip=f"{_DOCKER}.image.rootfs.diff.tar.gzip",
    foreign_layer=f"{_DOCKER}.image.rootfs.foreign.diff.tar.gzip",
)
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names a blob or a manifest from elsewhere."""

    media_type: str
    digest: str
    size_bytes: int
    architecture: str = ""
    urls: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        if self.architecture:
            fields["platform"] = {"os": "linux", "architecture": self.architecture}
        if self.urls:
            fields["urls"] = list(self.urls)
        return fields


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an image; `diff_id` is the digest of its tar, uncompressed."""

    descriptor: Descriptor
    diff_id: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a layout, by its tag there."""

    layout: Layout
    tag: str
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Layer, ...]

    @property
    def diff_ids(self) -> list[str]:
        return [layer.diff_id for layer in self.layers]


class Layout:
    """An OCI image layout under construction in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: list[dict[str, Any]] = []
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def path_of(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def blobs(self) -> list[Path]:
        """Return the files of all blobs, each named by its hash."""
        return list(self._blobs.iterdir())

    def read(self, descriptor: Descriptor) -> bytes:
        return self.path_of(descriptor.digest).read_bytes()

    def add(self, content: bytes, media_type: str) -> Descriptor:
        """Store a small blob."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.path_of(digest).write_bytes(content)
        return Descriptor(media_type, digest, len(content))

    def add_layer(
        self,
        files: Iterable[tuple[Path, str]],
        *,
        types: MediaTypes = OCI,
        compressed: bool = True,
    ) -> Layer:
        """Store a tar of files, each under its name there, in bounded memory."""
        packed = pack(files, self._blobs, compressed=compressed)
        media_type = types.layer_gzip if compressed else types.layer
        return Layer(Descriptor(media_type, packed.digest, packed.size_bytes), packed.diff_id)

    def add_image(
        self,
        tag: str,
        layers: Sequence[Layer],
        *,
        types: MediaTypes = OCI,
        architecture: str = "amd64",
    ) -> Image:
        """Store an image of these layers, and name it."""
        config = self._add_json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": {"Cmd": ["/bin/true"], "Env": ["PATH=/usr/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                "history": [{"created_by": layer.diff_id} for layer in layers],
            },
            types.config,
        )
        content = {
            "schemaVersion": 2,
            "mediaType": types.manifest,
            "config": config.as_json(),
            "layers": [layer.descriptor.as_json() for layer in layers],
        }
        stored = self._add_json(content, types.manifest)
        manifest = Descriptor(
            stored.media_type, stored.digest, stored.size_bytes, architecture=architecture
        )
        self.name(tag, manifest)
        return Image(self, tag, manifest, config, tuple(layers))

    def add_index(
        self,
        tag: str,
        manifests: Sequence[Descriptor],
        *,
        types: MediaTypes = OCI,
        annotations: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Store an index of manifests, and name it."""
        content: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": types.index,
            "manifests": [manifest.as_json() for manifest in manifests],
        }
        if annotations:
            content["annotations"] = dict(annotations)
        index = self._add_json(content, types.index)
        self.name(tag, index)
        return index

    def add_artifact(
        self, tag: str, content: bytes, artifact_type: str, *, subject: Descriptor
    ) -> Descriptor:
        """Store an artifact of one blob that says something about a subject, and name it."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI.manifest,
            "artifactType": artifact_type,
            "config": self.add(b"{}", EMPTY).as_json(),
            "layers": [self.add(content, artifact_type).as_json()],
            "subject": {
                "mediaType": subject.media_type,
                "digest": subject.digest,
                "size": subject.size_bytes,
            },
            "annotations": {"org.example.run": secrets.token_hex(8)},
        }
        artifact = self._add_json(manifest, OCI.manifest)
        self.name(tag, artifact)
        return artifact

    def name(self, tag: str, descriptor: Descriptor) -> None:
        """Put a manifest or an index into the layout's own index under a tag."""
        annotations = {"org.opencontainers.image.ref.name": tag}
        self._named.append(descriptor.as_json() | {"annotations": annotations})
        content = {"schemaVersion": 2, "manifests": self._named}
        (self.folder / "index.json").write_text(json.dumps(content))

    def _add_json(self, content: dict[str, Any], media_type: str) -> Descriptor:
        # Indented, as no tool would write it again: what comes back must be what was sent.
        return self.add(json.dumps(content, indent=3).encode(), media_type)


def foreign_layer(layer: Layer, url: str, *, types: MediaTypes = OCI) -> Layer:
    """Return a layer that a registry is told of, but that is fetched from elsewhere."""
    known = layer.descriptor
    elsewhere = Descriptor(types.foreign_layer, known.digest, known.size_bytes, urls=(url,))
    return Layer(elsewhere, layer.diff_id)
