"""Lists, by page: `/v2/<name>/tags/list`, `/v2/_catalog`, `/v2/<name>/referrers/<digest>`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from blobd.digest import Digest
from blobd.http.paging import page_size, parameter
from blobd.registry.auth.scopes import CATALOG
from blobd.registry.media_types import OCI_INDEX
from blobd.registry.referrers import list_referrers
from blobd.registry.tags import PAGE_MAX, Page, list_repositories, list_tags

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.registry.http.guard import Guard
    from blobd.registry.identity.authorizer import Access


class ListingRoutes:
    """Handlers of lists (end-8, end-12, and docker's `_catalog`)."""

    def __init__(self, catalog: Catalog, guard: Guard) -> None:
        self._catalog = catalog
        self._guard = guard

    async def tags(self, request: web.BaseRequest, access: Access) -> web.StreamResponse:
        """R54 to R58."""
        repository, limit, after = access.repository, _limit(request), _after(request)
        page = await list_tags(self._catalog, repository, after=after, limit=limit)
        response = _json({"name": repository, "tags": page.names})
        return _linked(response, f"/v2/{repository}/tags/list", page, limit)

    async def repositories(self, request: web.BaseRequest) -> web.StreamResponse:
        """All repositories, as far as the caller may read them."""
        limit, after = _limit(request), _after(request)
        subject = await self._guard.signed_in(request, "the list of repositories", CATALOG)
        page = await list_repositories(self._catalog, subject, after=after, limit=limit)
        return _linked(_json({"repositories": page.names}), "/v2/_catalog", page, limit)

    async def referrers(
        self, request: web.BaseRequest, access: Access, digest: str
    ) -> web.StreamResponse:
        """R59 to R65; never 404."""
        repository, subject = access.repository, Digest.parse(digest)
        artifact_type, last = _artifact_type(request), parameter(request, "last")
        page = await list_referrers(
            self._catalog,
            repository,
            subject,
            artifact_type=artifact_type,
            after=None if last is None else Digest.parse(last),
        )
        response = web.Response(body=page.index, headers={"Content-Type": OCI_INDEX})
        query = {}
        if artifact_type is not None:
            response.headers["OCI-Filters-Applied"] = "artifactType"
            query["artifactType"] = artifact_type
        if page.next_after is not None:
            query["last"] = str(page.next_after)
            _link_next(response, f"/v2/{repository}/referrers/{subject}", query)
        return response


def _limit(request: web.BaseRequest) -> int:
    """Return how many names are asked for (R57). Raises PageInvalid."""
    return page_size(request, "n", default=PAGE_MAX, most=PAGE_MAX)


def _after(request: web.BaseRequest) -> str:
    """Return the name after which names are asked for: none has a NUL, nor what comes after it."""
    return request.query.get("last", "").partition("\0")[0]


def _artifact_type(request: web.BaseRequest) -> str | None:
    """Return the media type that is asked for.

    An unencoded + arrives as a space, which no type holds before its parameters. A NUL is in none
    either, nor in any text that a database takes.
    """
    text = parameter(request, "artifactType")
    if text is None:
        return None
    name, semicolon, parameters = text.replace("\0", "\ufffd").partition(";")
    bare = name.rstrip(" ") if semicolon else name
    return bare.replace(" ", "+") + name[len(bare) :] + semicolon + parameters


def _linked(response: web.Response, path: str, page: Page, limit: int) -> web.Response:
    if page.next_after is not None:
        _link_next(response, path, {"n": str(limit), "last": page.next_after})
    return response


def _link_next(response: web.Response, path: str, query: dict[str, str]) -> None:
    response.headers["Link"] = f'<{path}?{urlencode(query)}>; rel="next"'


def _json(document: object) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), content_type="application/json")
