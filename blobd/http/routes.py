"""Routes: from a method and a path to a handler, for both fronts.

A pattern is a regular expression over the decoded path, matched whole; its named groups become
the handler's keyword arguments. The first pattern that matches wins, so a front lists its routes
from the longest suffix to the shortest: repository names hold slashes, and may hold the words
`blobs` or `manifests`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from blobd.http.errors import MethodUnsupported, RouteUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Handler = Callable[..., Awaitable[web.StreamResponse]]
Refusal = Callable[[web.BaseRequest, Exception], web.Response]
"""Writes the answer to an error."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path and what its methods do. `name` is the label in metrics and logs."""

    name: str
    pattern: re.Pattern[str]
    handlers: Mapping[str, Handler]
    raw: bool
    """Whether the pattern is of the path as it was sent, so that a name may hold `%2F`."""


class Routes:
    """An ordered table of routes."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._refusals: list[tuple[str, Refusal]] = []

    def refuse_below(self, folder: str, refusal: Refusal) -> None:
        """Let errors at a path and all paths below it be answered in a form of their own."""
        self._refusals.append((folder, refusal))

    def refusal_at(self, path: str) -> Refusal | None:
        """Return what answers errors at a path in a form of its own; None: the usual one."""
        for folder, refusal in self._refusals:
            if path == folder or path.startswith(f"{folder}/"):
                return refusal
        return None

    def add(self, name: str, pattern: str, *, raw: bool = False, **handlers: Handler) -> None:
        """Add a route; `handlers` are keyed by method. GET does not imply HEAD."""
        self._routes.append(Route(name, re.compile(pattern), handlers, raw))

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def find(self, method: str, path: str, raw_path: str) -> tuple[Route, Handler, dict[str, str]]:
        """Return the route, its handler for the method, and the path's arguments, decoded.

        Raises RouteUnknown, or MethodUnsupported naming the methods that are there.
        """
        for route in self._routes:
            match = route.pattern.fullmatch(raw_path if route.raw else path)
            if match is not None:
                handler = route.handlers.get(method)
                if handler is None:
                    raise MethodUnsupported(method, sorted(route.handlers))
                arguments = match.groupdict()
                if route.raw:
                    arguments = {name: unquote(text) for name, text in arguments.items()}
                return route, handler, arguments
        raise RouteUnknown(f"there is nothing at {path[:200]}")
