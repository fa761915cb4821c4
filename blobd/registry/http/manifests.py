"""`/v2/<name>/manifests/<reference>`: pushing, pulling and deleting by tag or digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from blobd.digest import Digest
from blobd.http.ranges import Failed, NotModified, decide
from blobd.registry.errors import (
    ManifestTooLarge,
    ManifestTooSlow,
    ManifestUnknown,
    TagInvalid,
    TooManyTags,
)
from blobd.registry.http.header_lines import push_headers, warning_headers
from blobd.registry.identity.confirm import ConfirmedCatalog
from blobd.registry.media_types import as_answered
from blobd.registry.names import parse_reference, parse_tag
from blobd.registry.packages.create import package_maker
from blobd.registry.tags import delete_tag

if TYPE_CHECKING:
    from blobd.config import Limits
    from blobd.database import Catalog
    from blobd.http.whole_bodies import WholeBodies
    from blobd.registry.http.package_events import PackageEvents
    from blobd.registry.identity.authorizer import Access
    from blobd.registry.manifests import Manifests
    from blobd.registry.names import Reference

_TAGS_MAX = 100


class ManifestRoutes:
    """Handlers of one manifest or tag (end-3, end-7, end-9)."""

    def __init__(
        self,
        catalog: Catalog,
        manifests: Manifests,
        packages: PackageEvents,
        bodies: WholeBodies,
        limits: Limits,
    ) -> None:
        self._catalog = catalog
        self._manifests = manifests
        self._packages = packages
        self._limits = limits
        self._bodies = bodies

    async def get(
        self, request: web.BaseRequest, access: Access, reference: str
    ) -> web.StreamResponse:
        """R15 to R20: the bytes that were pushed, whatever the Accept header says."""
        found = await self._manifests.get(access.repository, _wanted(reference))
        headers = _headers(found.digest, found.media_type)
        cached = self._unless_cached(request, headers, len(found.content))
        if cached is not None:
            return cached
        self._packages.pulled(request, access, found)
        return web.Response(body=found.content, headers=headers)

    async def head(
        self, request: web.BaseRequest, access: Access, reference: str
    ) -> web.StreamResponse:
        """R23."""
        found = await self._manifests.find(access.repository, _wanted(reference))
        headers = _headers(found.digest, found.media_type)
        cached = self._unless_cached(request, headers, found.size_bytes)
        if cached is not None:
            return cached
        return web.Response(headers={**headers, "Content-Length": str(found.size_bytes)})

    async def put(
        self, request: web.BaseRequest, access: Access, reference: str
    ) -> web.StreamResponse:
        """R42 to R52."""
        repository, target = access.repository, parse_reference(reference)
        tags = [parse_tag(text) for text in request.query.getall("tag", [])]
        if len(tags) > _TAGS_MAX:
            raise TooManyTags(limit=_TAGS_MAX, got=len(tags))
        content = await self._body(request)
        publication = self._packages.publication(request, access)
        accepted = await self._manifests.put(
            repository,
            target,
            content=content,
            content_type=request.headers.get("Content-Type"),
            tags=tags,
            make=package_maker(access, now=self._catalog.now()),
            publication=publication,
        )
        self._packages.pushed(request, access, accepted, publication)
        response = web.Response(status=201)
        response.headers["Location"] = f"/v2/{repository}/manifests/{accepted.digest}"
        response.headers["Docker-Content-Digest"] = str(accepted.digest)
        if accepted.subject is not None:
            response.headers["OCI-Subject"] = str(accepted.subject)
        for line in push_headers(tags, (*accepted.warnings, *publication.warnings)):
            response.headers.add(*line)
        return response

    async def _body(self, request: web.BaseRequest) -> bytes:
        limit_s, limit_bytes = self._limits.idle_timeout_s, self._limits.max_manifest_bytes
        return await self._bodies.read(
            request,
            limit_bytes=limit_bytes,
            within_s=limit_s,
            too_large=ManifestTooLarge(limit_bytes=limit_bytes),
            too_slow=ManifestTooSlow(limit_s),
        )

    async def delete(
        self,
        request: web.BaseRequest,
        access: Access,
        reference: str,
    ) -> web.StreamResponse:
        """R67 and R68: a tag alone, or a manifest with all its tags.

        What an index lists is refused without `?force=true`; with it, a `Warning` says which
        indexes list what was deleted.
        """
        repository, target = access.repository, parse_reference(reference)
        response = web.Response(status=202)
        if isinstance(target, Digest):
            force = request.query.get("force") == "true"
            breaks = await self._packages.delete(request, access, target, force=force)
            for line in warning_headers(breaks):
                response.headers.add(*line)
        else:
            catalog = ConfirmedCatalog(self._catalog, access.confirm)
            await delete_tag(catalog, repository, target)
            self._packages.untagged(request, access, target)
        return response

    @staticmethod
    def _unless_cached(
        request: web.BaseRequest, headers: dict[str, str], size_bytes: int
    ) -> web.Response | None:
        """Answer what the client's validators decide; None where it wants the manifest."""
        asked = {name: value for name, value in request.headers.items() if name.lower() != "range"}
        match decide(asked, etag=headers["ETag"], size_bytes=size_bytes):
            case NotModified():
                return web.Response(status=304, headers=headers)
            case Failed():
                return web.Response(status=412, headers={"ETag": headers["ETag"]})
            case _:
                return None


def _wanted(text: str) -> Reference:
    """Return what is asked for; what cannot be a tag names no manifest (R18)."""
    try:
        return parse_reference(text)
    except TagInvalid as error:
        raise ManifestUnknown(text[:140]) from error


def _headers(digest: Digest, media_type: str) -> dict[str, str]:
    return {
        "Content-Type": as_answered(media_type),
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
    }
