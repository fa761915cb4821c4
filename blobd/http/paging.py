"""Parameters of lists: what is empty counts as absent, and a number of any size is clamped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.http.errors import PageInvalid

if TYPE_CHECKING:
    from aiohttp import web


def parameter(request: web.BaseRequest, name: str) -> str | None:
    """Return a query parameter's value; None where it is absent or empty."""
    return request.query.get(name) or None


def page_size(request: web.BaseRequest, name: str, *, default: int, most: int) -> int:
    """Return how many entries are asked for, at most `most`. Raises PageInvalid."""
    text = parameter(request, name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise PageInvalid(text[:40])
    digits = text.lstrip("0") or "0"
    return most if len(digits) > len(str(most)) else min(int(digits), most)
