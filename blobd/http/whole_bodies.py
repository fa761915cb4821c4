"""Bodies that are held in memory whole: manifests, forms, documents. Bounded in size, memory, time.

A body of up to 64 KiB lies in its connection's memory and takes nothing that others could want.
Larger ones, and those that do not say how large they are, share one amount of memory in each
worker, out of which an account gets its share (`../fairness.py`). So one that comes slowly holds
what is its own account's, and for no longer than it may take; nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from blobd.fairness import FairPool, acting_for
from blobd.http.bodies import SCRATCH_BYTES
from blobd.http.connection import has_large_body
from blobd.http.errors import BodyTooSlow, RequestInvalid
from blobd.http.middleware import body_of

if TYPE_CHECKING:
    from aiohttp import web

    from blobd.config import Limits

_LARGE_BODIES_MAX = 16
"""So many of the largest manifests may be in memory; of smaller bodies as many more."""
_LARGEST_LEAST_BYTES = 1024 * 1024
"""As if the largest manifest were no smaller than this: forms may be larger than it then."""
_FORM_WITHIN_S = 10.0


class WholeBodies:
    """Reads them. One per worker."""

    def __init__(self, limits: Limits) -> None:
        largest_bytes = max(limits.max_manifest_bytes, _LARGEST_LEAST_BYTES)
        self._memory = FairPool(
            _LARGE_BODIES_MAX * largest_bytes,
            share=limits.account_share,
            wait_s=limits.budget_wait_s,
            what="bytes of bodies on their way",
        )

    async def read(
        self,
        request: web.BaseRequest,
        *,
        limit_bytes: int,
        within_s: float,
        too_large: Exception,
        too_slow: Exception | None = None,
    ) -> bytes:
        """Return a request's body, whose memory is counted as its account's (`acting_for`).

        Raises `too_large` beyond `limit_bytes`, and `too_slow`, else BodyTooSlow, where it is not
        here `within_s` seconds after memory for it was; AccountBusy where there is none.
        """
        announced_bytes = request.content_length or 0
        if announced_bytes > limit_bytes:
            raise too_large
        try:
            if not has_large_body(request):
                async with asyncio.timeout(within_s):
                    return await _read(request, limit_bytes, within_s, too_large)
            async with (
                self._memory.hold(acting_for(), announced_bytes or limit_bytes),
                asyncio.timeout(within_s),
            ):
                return await _read(request, limit_bytes, within_s, too_large)
        except TimeoutError:
            raise too_slow or BodyTooSlow(within_s) from None

    async def read_form(
        self, request: web.BaseRequest, *, limit_bytes: int, max_fields: int
    ) -> dict[str, list[str]]:
        """Return a form's fields. Raises RequestInvalid, BodyTooSlow, AccountBusy."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise RequestInvalid("the body must be application/x-www-form-urlencoded")
        content = await self.read(
            request,
            limit_bytes=limit_bytes,
            within_s=_FORM_WITHIN_S,
            too_large=RequestInvalid("the form is too large"),
        )
        try:
            return parse_qs(content.decode(), keep_blank_values=True, max_num_fields=max_fields)
        except ValueError as error:
            raise RequestInvalid(f"the form cannot be read: {error}") from error


async def _read(
    request: web.BaseRequest, limit_bytes: int, within_s: float, too_large: Exception
) -> bytes:
    body = body_of(request, within_s)
    whole = bytearray()
    scratch = memoryview(bytearray(min(body.length_bytes or limit_bytes, SCRATCH_BYTES)))
    while await body.ready():
        for part in await body.receive(scratch):
            whole += part
        if len(whole) > limit_bytes:
            raise too_large
    return bytes(whole)
