"""What the tests of the registry do again and again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from blobd.api.holds import API_HOLDS
from blobd.config import Catalog as CatalogConfig
from blobd.config import Config, Limits, Upkeep
from blobd.database import catalog_place
from blobd.database.opening import Server
from blobd.digest import Digest
from blobd.graces import Graces
from blobd.references.references import References
from blobd.references.roots import Roots
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.catalog.links import LINKS
from blobd.registry.links import RepositoryHolder
from blobd.registry.media_types import OCI_INDEX, OCI_MANIFEST
from blobd.registry.names import RepositoryName
from blobd.registry.packages.trash import Trash
from tests.backends.acts import digest_of, sizes_bytes, staged

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.database import Catalog
    from blobd.store import BlobHolder, BlobStore

APP = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
BLOB = Digest("sha256", "ab" * 32)
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


REFERENCES = References((LINKS, API_HOLDS))
"""As a daemon with both fronts has them."""


class Clock:
    """Seconds since the epoch, as far as the test says."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def url_of(place: Path | Server) -> str:
    """Return what `catalog.url` says for a place."""
    return place.url if isinstance(place, Server) else f"sqlite:///{place}"


def place_of(url: str) -> Path | Server:
    """Return the place that `catalog.url` names."""
    return catalog_place(Config(catalog=CatalogConfig(url=url)))


def roots_of(catalog: Catalog, *, unnamed_link_grace_s: float) -> Roots:
    """Return the roots of a catalog, where uploads take ten minutes at most."""
    config = Config(
        limits=Limits(upload_timeout_s=600),
        upkeep=Upkeep(unnamed_link_grace_s=unnamed_link_grace_s),
    )
    return Roots(catalog, REFERENCES, Graces.of(config))


async def asked(catalog: Catalog, query: str) -> list[Any]:
    """Return the first column of what a query finds in the catalog."""
    return await catalog.read(lambda transaction: list(transaction.execute(text(query)).scalars()))


async def link(catalog: Catalog, digest: Digest) -> None:
    """Link a digest that need not be stored."""
    async with RepositoryHolder(catalog, APP).pin(digest) as pin:
        await pin.keep(7)


async def push_as(holder: BlobHolder, store: BlobStore, data: bytes) -> Digest:
    """Commit a blob for a holder."""
    digest = digest_of(data)
    async with staged(store.backend) as staging:
        await staging.append([data])
        await store.commit(staging, digest, holder)
    return digest


async def push(
    catalog: Catalog, store: BlobStore, data: bytes, repository: RepositoryName = APP
) -> Digest:
    """Commit a blob into a repository."""
    return await push_as(RepositoryHolder(catalog, repository), store, data)


async def delete_manifest(catalog: Catalog, repository: RepositoryName, digest: Digest) -> None:
    """Delete a manifest for good, as there is no trash."""
    await Trash(catalog, 0).delete_manifest(repository, digest, EVERYONE)


def descriptor(digest: Digest | str, media_type: str = LAYER_TYPE, **more: Any) -> dict[str, Any]:
    """Return a descriptor; it has the right size where the content was made by these tests."""
    size_bytes = sizes_bytes.get(str(digest), 3)
    return {"mediaType": media_type, "digest": str(digest), "size": size_bytes, **more}


def image(config: Digest | str, *layers: Digest | str, **more: Any) -> bytes:
    """Return an OCI image manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, CONFIG_TYPE),
        "layers": [descriptor(layer) for layer in layers],
    }
    return _made(document | more)


def index(*children: Digest | str, **more: Any) -> bytes:
    """Return an OCI index."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(child, OCI_MANIFEST) for child in children],
    }
    return _made(document | more)


def _made(document: dict[str, Any]) -> bytes:
    content = json.dumps(document).encode()
    digest_of(content)
    return content
