"""One HTTP exchange with the server: a moving deadline, and a class for each kind of failure."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from blobd.client.errors import AnswerMalformed, Unreachable, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
    from typing import Self

_ERROR_BODY_MAX_BYTES = 64 * 1024
_OCTETS = "application/octet-stream"

_log = logging.getLogger("blobd.client")


class Transport:
    """Sends requests over a session and reads their answers."""

    def __init__(
        self, session: aiohttp.ClientSession, base: URL, *, token: str | None, stall_s: float
    ) -> None:
        """`stall_s`: an exchange in which nothing moves for this long is Unreachable."""
        self._session = session
        self._base = str(base).rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._stall_s = stall_s

    async def ask(
        self,
        method: str,
        path: str,
        *,
        ok: tuple[int, ...],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | AsyncIterable[bytes] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return its answer's head; the caller closes it.

        Raises Unreachable; the Refused that fits, for a status that is not in `ok`; and what
        the body raises, as itself.
        """
        sent_headers = {**self._headers, **(headers or {})}
        if data is not None:
            sent_headers["Content-Type"] = _OCTETS
        watched = None if data is None or isinstance(data, bytes) else _Watched(data)
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                if watched is not None:
                    watched.keep_alive(deadline, self._stall_s)
                answer = await self._session.request(
                    method,
                    URL(f"{self._base}{path}"),
                    params=query,
                    headers=sent_headers,
                    data=data if watched is None else watched,
                    allow_redirects=method == "GET",
                )
        except (aiohttp.ClientError, OSError) as error:
            if watched is not None and watched.failure is not None:
                raise watched.failure from None
            why = str(error) or f"nothing moved for {self._stall_s:g} s"
            raise Unreachable(f"{method} {path} at {self._base}: {why}") from error
        finally:
            if watched is not None:
                watched.let_go()
        if answer.status not in ok:
            async with answer:
                raise refusal(answer.status, answer.headers, await self.error_body(answer))
        return answer

    async def error_body(self, answer: aiohttp.ClientResponse) -> bytes:
        """Return what can be had of an error's text; the status alone says enough."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._stall_s):
                while len(body) < _ERROR_BODY_MAX_BYTES:
                    piece = await answer.content.readany()
                    if not piece:
                        break
                    body += piece
        except (aiohttp.ClientError, OSError) as error:
            _log.debug("an error's text broke off: %r", error)
        return bytes(body)

    async def pieces(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """Yield an answer's body as it comes. Raises Unreachable when it breaks off."""
        while True:
            try:
                async with asyncio.timeout(self._stall_s):
                    piece = await answer.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise Unreachable(f"the connection broke during a download: {error!r}") from error
            if not piece:
                return
            yield piece

    async def document(self, answer: aiohttp.ClientResponse) -> Any:
        """Return an answer's JSON. Raises AnswerMalformed, Unreachable."""
        try:
            async with asyncio.timeout(self._stall_s):
                return json.loads(await answer.read())
        except ValueError as error:
            raise AnswerMalformed(f"{answer.url.path} did not answer JSON") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the connection broke during an answer: {error!r}") from error


class _Watched:
    """A body that pushes a deadline on with every piece, and remembers its own failure.

    aiohttp reports a body's failure as one of the connection; only the body knows better.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = aiter(pieces)
        self._push_on: Callable[[], None] | None = None
        self.failure: Exception | None = None

    def keep_alive(self, deadline: asyncio.Timeout, stall_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._push_on = lambda: deadline.reschedule(loop.time() + stall_s)

    def let_go(self) -> None:
        self._push_on = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._push_on is not None:
            self._push_on()
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.failure = error
            raise
