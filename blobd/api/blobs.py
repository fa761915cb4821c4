"""`/blobs`: read, list and let go of blobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from blobd.digest import Digest
from blobd.http.paging import page_size, parameter
from blobd.http.respond import head_blob

if TYPE_CHECKING:
    from blobd.backends.base import Source
    from blobd.http.respond import Responder
    from blobd.store import BlobHolder, BlobStore

_DEFAULT_PAGE = 1000
_LARGEST_PAGE = 10_000


class Blobs(Protocol):
    """Stored blobs, looked at before anything is said of them."""

    async def stat(self, digest: Digest) -> int:
        """Return a blob's size in bytes. Raises BlobNotFound."""
        ...

    async def open(self, digest: Digest) -> Source:
        """Open a blob; the caller closes the source. Raises BlobNotFound."""
        ...


class BlobRoutes:
    """Handlers of `/blobs` and `/blobs/{digest}`."""

    def __init__(
        self, blobs: Blobs, store: BlobStore, holder: BlobHolder, responder: Responder
    ) -> None:
        self._blobs = blobs
        self._store = store
        self._holder = holder
        self._responder = responder

    async def get(self, request: web.BaseRequest, digest: str) -> web.StreamResponse:
        name = Digest.parse(digest)
        return await self._responder.send_blob(request, name, await self._blobs.open(name))

    async def head(self, request: web.BaseRequest, digest: str) -> web.StreamResponse:
        name = Digest.parse(digest)
        return head_blob(request, name, await self._blobs.stat(name))

    async def delete(self, request: web.BaseRequest, digest: str) -> web.StreamResponse:  # noqa: ARG002
        await self._holder.release(Digest.parse(digest))
        return web.Response(status=202)

    async def list(self, request: web.BaseRequest) -> web.StreamResponse:
        """One page of what is stored, in digest order; `next` is the `after` of the next page."""
        limit = page_size(request, "limit", default=_DEFAULT_PAGE, most=_LARGEST_PAGE)
        text = parameter(request, "after")
        after = Digest.parse(text) if text is not None else None
        page: list[dict[str, str | int]] = []
        more = False
        if limit:
            async for info in self._store.blobs(after=after):
                if len(page) == limit:
                    more = True
                    break
                page.append({"digest": str(info.digest), "size": info.size_bytes})
        last = page[-1]["digest"] if more else None
        body = json.dumps({"blobs": page, "next": last}).encode()
        return web.Response(body=body, content_type="application/json")
