"""`/uploads`: the distribution upload protocol without repository names."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web

from blobd.http.identity import token_index
from blobd.http.upload_protocol import UploadContext, UploadProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.store import BlobHolder
    from blobd.uploads import Uploads

OWNER = "blob-api"


class UploadRoutes:
    """Handlers of `/uploads` and `/uploads/{id}`."""

    def __init__(
        self,
        uploads: Uploads,
        protocol: UploadProtocol,
        holder: BlobHolder,
        tokens: Sequence[str] = (),
    ) -> None:
        """With several `tokens`, each is an account with a share of the limits."""
        self._uploads = uploads
        self._protocol = protocol
        self._holder = holder
        self._tokens = tokens

    async def start(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._protocol.start(request, self._context(request))

    async def append(self, request: web.BaseRequest, upload_id: str) -> web.StreamResponse:
        return await self._protocol.append(request, self._context(request), upload_id)

    async def finish(self, request: web.BaseRequest, upload_id: str) -> web.StreamResponse:
        return await self._protocol.finish(request, self._context(request), upload_id)

    async def status(self, request: web.BaseRequest, upload_id: str) -> web.StreamResponse:
        return await self._protocol.status(request, self._context(request), upload_id)

    async def cancel(self, request: web.BaseRequest, upload_id: str) -> web.StreamResponse:
        return await self._protocol.cancel(request, self._context(request), upload_id)

    async def list(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        """All open uploads, those of the registry's repositories too."""
        found = [asdict(upload) async for upload in self._uploads.open_uploads()]
        for upload in found:
            upload["id"] = upload.pop("upload_id")
        found.sort(key=lambda upload: upload["created_at"])
        body = json.dumps({"uploads": found}).encode()
        return web.Response(body=body, content_type="application/json")

    def _context(self, request: web.BaseRequest) -> UploadContext:
        account = None
        if len(self._tokens) > 1:
            account = f"token:{token_index(request, self._tokens)}"
        return UploadContext(
            owner=OWNER,
            account=account,
            holder=self._holder,
            upload_location="/uploads/{}.{}".format,
            blob_location="/blobs/{}".format,
        )
