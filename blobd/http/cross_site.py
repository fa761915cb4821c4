"""Requests that another site makes a browser send are refused where they would change something.

A browser that remembers a login sends it with whatever a foreign page makes it ask for. It also
says that it does: by `Origin` (RFC 6454; with every method but GET and HEAD) and `Sec-Fetch-Site`
(W3C Fetch Metadata). Clients that are no browsers send neither and are not affected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from blobd.http.errors import CrossSite

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
"""`none`: the user typed the address, or opened a bookmark."""


def refuse_cross_site(
    request: web.BaseRequest,
    own_host: Callable[[web.BaseRequest], str],
    *,
    guarded_paths: frozenset[str] = frozenset(),
) -> None:
    """Raise CrossSite for a request of another site that would change something.

    `own_host` returns the host and port by which the client came. `guarded_paths` are those where
    a GET counts too. Schemes are not compared: behind a proxy that ends TLS only the host is sure.
    """
    if request.method in _SAFE_METHODS and request.path not in guarded_paths:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site.strip().lower() not in _OWN_SITES:
        raise CrossSite(f"Sec-Fetch-Site: {site[:40]}")
    origin = request.headers.get("Origin")
    if origin is not None and _host(origin) != own_host(request).lower():
        raise CrossSite(f"Origin: {origin[:200]}")


def _host(origin: str) -> str | None:
    """Return an origin's host and port; None for `null` and for what is none."""
    try:
        return urlsplit(origin.strip()).netloc.lower() or None
    except ValueError:
        return None
