"""`/v2/<name>/blobs/uploads/`: mounts, and the upload protocol with a repository's keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from blobd.digest import Digest, MalformedDigest
from blobd.errors import NameInvalid
from blobd.registry.links import RepositoryKeeper, mount
from blobd.registry.names import parse_name
from blobd.wire.upload_protocol import UploadContext

if TYPE_CHECKING:
    from blobd.registry.catalog import Catalog
    from blobd.registry.names import RepositoryName
    from blobd.wire.upload_protocol import UploadProtocol


class UploadRoutes:
    """Handlers of upload sessions in one repository (end-4 to end-6, end-11, end-13, end-14)."""

    def __init__(self, catalog: Catalog, protocol: UploadProtocol) -> None:
        self._catalog = catalog
        self._protocol = protocol

    async def start(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Mount where asked to and able to (R41), else open a session: never an error for it."""
        repository = parse_name(name)
        if "mount" in request.query:
            digest = await self._mounted(request, repository)
            if digest is not None:
                headers = {
                    "Location": f"/v2/{repository}/blobs/{digest}",
                    "Docker-Content-Digest": str(digest),
                }
                return web.Response(status=201, headers=headers)
        return await self._protocol.start(request, self._context(repository))

    async def append(
        self, request: web.BaseRequest, name: str, upload_id: str
    ) -> web.StreamResponse:
        """R31 to R34, R39."""
        return await self._protocol.append(request, self._context(parse_name(name)), upload_id)

    async def finish(
        self, request: web.BaseRequest, name: str, upload_id: str
    ) -> web.StreamResponse:
        """R35 to R37."""
        return await self._protocol.finish(request, self._context(parse_name(name)), upload_id)

    async def status(
        self, request: web.BaseRequest, name: str, upload_id: str
    ) -> web.StreamResponse:
        """R38."""
        return await self._protocol.status(request, self._context(parse_name(name)), upload_id)

    async def cancel(
        self, request: web.BaseRequest, name: str, upload_id: str
    ) -> web.StreamResponse:
        """R40."""
        return await self._protocol.cancel(request, self._context(parse_name(name)), upload_id)

    async def _mounted(self, request: web.BaseRequest, into: RepositoryName) -> Digest | None:
        """Return the digest that was mounted; None where that cannot be, for whatever reason."""
        try:
            digest = Digest.parse(request.query["mount"])
            text = request.query.get("from")
            source = parse_name(text) if text else None
        except (MalformedDigest, NameInvalid):
            return None
        done = await mount(self._catalog, digest, into=into, source=source)
        return digest if done else None

    def _context(self, repository: RepositoryName) -> UploadContext:
        return UploadContext(
            owner=f"repository:{repository}",
            keeper=RepositoryKeeper(self._catalog, repository),
            upload_location=lambda upload_id: f"/v2/{repository}/blobs/uploads/{upload_id}",
            blob_location=lambda digest: f"/v2/{repository}/blobs/{digest}",
        )
