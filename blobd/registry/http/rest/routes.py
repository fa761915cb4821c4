"""The management API, wired: all operations as routes, and the document of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from aiohttp import web

from blobd.registry.http.rest.accounts import AccountCalls
from blobd.registry.http.rest.dispatch import DOCUMENT_PATH
from blobd.registry.http.rest.document import make_document
from blobd.registry.http.rest.manage import ManageCalls
from blobd.registry.http.rest.packages import PackageCalls
from blobd.registry.http.rest.sources import SourceCalls

if TYPE_CHECKING:
    from blobd.http.routes import Handler, Routes
    from blobd.registry.http.rest.context import RestContext
    from blobd.registry.http.rest.dispatch import Frame
    from blobd.registry.http.rest.operation import Operation

_ROOT = "/api"
_PREFIX = re.escape(_ROOT) + r"(?:/v3)?"
"""`/api/v3` is where clients of GitHub's Enterprise Server look on any host but GitHub's own."""
_PLACE = re.compile(r"\\\{(\w+)\\\}")


def rest_operations(
    context: RestContext, *, trash_retention_s: float, allow_unpublish: bool
) -> list[Operation]:
    """Return all operations."""
    return [
        *AccountCalls(context).operations(),
        *SourceCalls(context).operations(),
        *PackageCalls(context, trash_retention_s=trash_retention_s).operations(),
        *ManageCalls(context, allow_unpublish=allow_unpublish).operations(),
    ]


def add_rest(routes: Routes, frame: Frame, operations: list[Operation]) -> None:
    """Add all operations; what is fixed in a path goes before what is a name there."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    for path in sorted(by_path, key=lambda path: (path.count("{"), path)):
        handlers = {method: frame.handler(operation) for method, operation in by_path[path].items()}
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        name = re.sub(r"\W+", "_", path).strip("_")
        routes.add(f"api_{name}", _pattern(path), raw=True, **handlers)
    document = _document(operations)
    routes.add("api_document", re.escape(DOCUMENT_PATH), GET=document, HEAD=document)
    routes.refuse_below(_ROOT, frame.refusal)


def _document(operations: list[Operation]) -> Handler:
    content = json.dumps(make_document(operations), indent=1).encode()

    async def document(request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG001
        return web.Response(body=content, content_type="application/json")

    return document


def _pattern(path: str) -> str:
    """Return the pattern of a path as it is sent: a name's slashes are `%2F`."""
    return _PLACE.sub(r"(?P<\1>[^/]+)", _PREFIX + re.escape(path))
