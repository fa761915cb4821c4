"""Authentication of the blob API: bearer tokens, compared in constant time."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from blobd.http.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web


def require_token(request: web.BaseRequest, tokens: tuple[str, ...]) -> None:
    """Raise Unauthenticated unless the request carries one of the tokens; none asks for none."""
    if tokens and token_index(request, tokens) is None:
        raise Unauthenticated("a bearer token of this server (blob_api.tokens) is needed")


def token_index(request: web.BaseRequest, tokens: Sequence[str]) -> int | None:
    """Return which of the tokens the request carries; None: none of them."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    secret = given.strip().encode(errors="surrogateescape")
    matches = [hmac.compare_digest(secret, token.encode()) for token in tokens]
    return matches.index(True) if any(matches) else None
