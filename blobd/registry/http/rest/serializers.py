"""Packages and versions in GitHub's JSON, with members of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blobd.registry.http.rest.owners import PAGES, OwnerShapes
from blobd.registry.http.rest.times import moment

if TYPE_CHECKING:
    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.sources import Source
    from blobd.registry.catalog.versions import Version


@dataclass(frozen=True, slots=True)
class Serializer:
    """Writes values with the URLs that a client came by."""

    base_url: str

    def package(self, package: Package, source: Source | None) -> dict[str, Any]:
        """Return a package; `source` is the source repository that it is linked to."""
        owners = OwnerShapes(self.base_url)
        shape: dict[str, Any] = {
            "id": package.package_id,
            "name": package.name,
            "package_type": "container",
            "owner": owners.simple(package.owner, package.owner_id, package.owner_kind),
            "version_count": package.version_count,
            "visibility": package.visibility,
            "url": self._url(package),
            "created_at": moment(package.created_at),
            "updated_at": moment(package.updated_at),
            "html_url": self._page(package),
            "description": package.description,
            "license": package.licences,
            "source_url": package.source_url,
            "download_count": package.downloads,
            "inherits": package.inherits,
            "immutable_tags": package.immutable_tags,
            "sparse_indexes": package.sparse_indexes,
        }
        if source is not None:
            shape["repository"] = owners.minimal_repository(source)
        if package.deleted_at is not None:
            shape["deleted_at"] = moment(package.deleted_at)
        return shape

    def version(self, package: Package, version: Version) -> dict[str, Any]:
        """Return a version of a package."""
        shape: dict[str, Any] = {
            "id": version.version_id,
            "name": str(version.digest),
            "url": f"{self._url(package)}/versions/{version.version_id}",
            "package_html_url": self._page(package),
            "html_url": f"{self._page(package)}/-/versions/{version.version_id}",
            "created_at": moment(version.created_at),
            "updated_at": moment(version.updated_at),
            "description": version.description,
            "license": version.licences,
            "metadata": {
                "package_type": "container",
                "container": {"tags": list(version.tags)},
            },
            "size_bytes": version.size_bytes,
            "download_count": version.downloads,
            "last_pulled_at": (
                None if version.last_pulled_at is None else moment(version.last_pulled_at)
            ),
            "platforms": list(version.platforms),
            "artifact_type": version.artifact_type,
            "parents": [
                {"name": str(parent.digest), "tags": list(parent.tags)}
                for parent in version.parents
            ],
            "children": [str(child) for child in version.children],
        }
        if version.deleted_at is not None:
            shape["deleted_at"] = moment(version.deleted_at)
        return shape

    def _url(self, package: Package) -> str:
        kind = "orgs" if package.owner_kind == "organisation" else "users"
        return (
            f"{self.base_url}/api/{kind}/{package.owner}/packages/container/"
            f"{quote(package.name, safe='')}"
        )

    def _page(self, package: Package) -> str:
        return f"{self.base_url}{PAGES}/{package.owner}/{package.name}"
