"""Around every call: authentication, validation, and the answer as JSON, errors too."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from blobd.http.answers import answer_for, error_response, message_of
from blobd.http.errors import CredentialMalformed
from blobd.registry.errors import LoginNeeded, TokenTooNarrow
from blobd.registry.http.header_lines import warning_headers
from blobd.registry.http.rest.operation import Call, Changed, Done, Page, Stretch
from blobd.registry.http.rest.validation import (
    check_media_type,
    check_path,
    read_body,
    read_page,
    read_query,
)
from blobd.registry.identity.rights import Demands

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.http.origin import Origins
    from blobd.http.routes import Handler
    from blobd.http.whole_bodies import WholeBodies
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.http.guard import Guard
    from blobd.registry.http.rest.operation import Operation
    from blobd.registry.identity.authenticator import Caller

DOCUMENT_PATH = "/api/openapi.json"


class Frame:
    """Makes handlers of operations."""

    def __init__(
        self, catalog: Catalog, guard: Guard, origins: Origins, bodies: WholeBodies
    ) -> None:
        self._catalog = catalog
        self._guard = guard
        self._origins = origins
        self._bodies = bodies

    def handler(self, operation: Operation) -> Handler:
        """Return what answers requests for an operation."""

        async def handle(request: web.BaseRequest, **path: str) -> web.StreamResponse:
            with self._guard.challenging(request):
                caller = await self._caller(request)
                check_scope(caller.subject, operation.needed_scope)
                check_media_type(request)
                check_path(request, path)
                page, per_page = read_page(request) if operation.pages else (1, 1)
                arguments = (
                    path
                    | read_query(request, operation.query)
                    | await read_body(self._bodies, request, operation.body)
                )
                if operation.body:  # which may have been long in coming
                    caller = await self._caller(request)
                    check_scope(caller.subject, operation.needed_scope)
                demands = Demands(self._catalog, caller.subject)
                base_url = self._origins.base_url(request)
                call = Call(request, caller, demands, base_url, page, per_page)
                found = await operation.handler(call, **arguments)
            return _answer(operation, call, found)

        return handle

    async def _caller(self, request: web.BaseRequest) -> Caller:
        caller = await self._guard.caller(request)
        if not caller.subject.signed_in:
            raise LoginNeeded("this API")
        if caller.asked is not None:
            raise CredentialMalformed(
                "a registry's bearer token is not for this API; show the token behind it"
            )
        return caller

    def refusal(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """Render an error in GitHub's format, with the usual status and headers.

        For errors of operations and for what no operation is reached by: unknown paths, methods,
        requests that another site made a browser send.
        """
        answer = answer_for(error)
        response = web.json_response(
            {
                "message": message_of(error),
                "documentation_url": f"{self._origins.base_url(request)}{DOCUMENT_PATH}",
                "status": str(answer.status),
                "code": answer.code,
            },
            status=answer.status,
        )
        for name, value in error_response(error).headers.items():
            if name not in {"Content-Type", "Content-Length"}:
                response.headers[name] = value
        return response


def check_scope(subject: Subject, scope: str) -> None:
    """Raise TokenTooNarrow unless a caller's token is for a scope, if one is needed."""
    if scope and not subject.has_scope(scope):
        raise TokenTooNarrow(scope, sorted(subject.scopes))


def _answer(operation: Operation, call: Call, found: object) -> web.Response:
    if found is None or isinstance(found, Done):
        response = web.Response(status=204)
        for line in warning_headers(() if found is None else found.warnings):
            response.headers.add(*line)
        return response
    if isinstance(found, Changed):
        response = web.json_response(found.shape, status=operation.status)
        for line in warning_headers(found.warnings):
            response.headers.add(*line)
        return response
    if not isinstance(found, Page | Stretch):
        return web.json_response(found, status=operation.status)
    response = web.json_response(found.entries, status=operation.status)
    links = _numbered(call, found) if isinstance(found, Page) else _following(found)
    query = dict(call.request.query)
    said = [
        f"<{call.base_url}{call.request.rel_url.raw_path}?"
        f'{urlencode(query | change)}>; rel="{relation}"'
        for relation, change in links.items()
    ]
    if said:
        response.headers["Link"] = ", ".join(said)
    return response


def _numbered(call: Call, found: Page) -> dict[str, dict[str, str]]:
    """Return what a query says for other pages, by how they stand to this one (RFC 8288)."""
    last = max(1, -(-found.total // call.per_page))
    links: dict[str, int] = {}
    if call.page > 1:
        links["prev"] = min(call.page - 1, last)
    if call.page < last:
        links |= {"next": call.page + 1, "last": last}
    if call.page > 1:
        links["first"] = 1
    return {relation: {"page": str(page)} for relation, page in links.items()}


def _following(found: Stretch) -> dict[str, dict[str, str]]:
    return {} if found.rest is None else {"next": dict(found.rest)}
