"""The headers of every answer of both fronts, set in one place.

What clients store is theirs: a manifest or an error that quotes it may hold anything, and a browser
that opens it on this address must neither guess a type for it nor run it. And what one caller may
read another may not, so nothing is for shared caches unless its handler says that it is public.
A handler that sets one of these headers itself has a reason: the pages for people run their own
script, files named by their content may be kept by everyone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

STANDARD: Mapping[str, str] = {
    "Server": f"blobd/{__version__}",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization",
}

PRIVATE_FOR_GOOD = "private, max-age=31536000, immutable"
"""Cache-Control of bytes that are named by their digest and that not everybody may read."""
PUBLIC_FOR_GOOD = "public, max-age=31536000, immutable"
"""Cache-Control of bytes that are named by their digest and that everybody may read."""


def complete(response: web.StreamResponse) -> None:
    """Add what the head of every answer has, before it is sent; what it says already stays."""
    for name, value in STANDARD.items():
        response.headers.setdefault(name, value)
