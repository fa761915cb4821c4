"""The client: one connection pool to one blobd, and its verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from blobd.client import pull, sources
from blobd.client.backoff import Retries, patiently
from blobd.client.exchange import Transport
from blobd.client.push import Push
from blobd.client.requests import Requests
from blobd.errors import DigestUnsupported

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from blobd.client.models import Blob, ProgressCallback, Upload
    from blobd.client.sources import Bytes
    from blobd.digest import Digest, Span

_CONNECT_TIMEOUT_S = 10.0
_READ_BUFFER_BYTES = 1024 * 1024


class Client:
    """A client of one blob API. Use as `async with`; any number of tasks may share it.

    `address` is `http://host:port`, `https://host:port`, or `unix:/path/to/socket`. An exchange
    in which no byte moves for `stall_s` counts as a lost connection. Every verb retries what
    passes, as `retries` says, waits as long as the server's Retry-After asks, and raises
    ClientError in the end. Raises ValueError for an address that is none of the above.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        *,
        retries: Retries | None = None,
        stall_s: float = 60.0,
    ) -> None:
        self._base, self._socket_path = _read_address(address)
        self._token = token
        self._retries = retries if retries is not None else Retries()
        self._stall_s = stall_s
        self._session: aiohttp.ClientSession | None = None
        self._requests: Requests | None = None

    async def __aenter__(self) -> Self:
        connector = (
            aiohttp.UnixConnector(self._socket_path)
            if self._socket_path is not None
            else aiohttp.TCPConnector(limit=0)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._requests = Requests(
            Transport(self._session, self._base, token=self._token, stall_s=self._stall_s)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session, self._requests = self._session, None, None
        if session is not None:
            await session.close()

    @property
    def requests(self) -> Requests:
        """The single requests of the blob API, without retries."""
        if self._requests is None:
            raise RuntimeError("use the client as `async with Client(...) as client:`")
        return self._requests

    async def push(
        self,
        source: Bytes,
        *,
        digest: Digest | None = None,
        algorithm: str = "sha256",
        upload_id: str | None = None,
        chunk_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Blob:
        """Store a file (its path or descriptor), bytes, or an async source; return the blob.

        What is no regular file (a pipe, a FIFO, a device) is read to its end as a stream, and so
        is a descriptor that does not stand at a file's first byte. A stream cannot be read again:
        only the chunk under way is kept, and goes on after a break.

        Without `digest` the bytes are hashed as `algorithm` while they are sent; with it, the
        server alone hashes, and refuses other bytes. `upload_id` continues an upload that an
        earlier push began with the same source from its first byte on.

        `chunk_bytes` limits the body of one request: for a file all that is left by default; for
        a stream 16 MiB, which are kept in memory until the server has them.

        Raises ClientError, its `upload_id` set where a later push may go on; SourceChanged for a
        file that was written to meanwhile; SourceSpent when a stream cannot give again what the
        server needs; DigestUnsupported; OSError when the file cannot be read; what an async
        source raises. If cancelled, the
        upload stays open until the server's time limit ends it, and may be continued.
        """
        if digest is not None and not digest.supported:
            raise DigestUnsupported(digest.algorithm)
        hashed_as = algorithm if digest is None else None
        async with sources.opened(source, algorithm=hashed_as, chunk_bytes=chunk_bytes) as opened:
            return await Push(
                self.requests,
                opened,
                digest=digest,
                algorithm=algorithm,
                upload_id=upload_id,
                retries=self._retries,
                progress=progress,
            ).run()

    async def pull(
        self, digest: Digest, to: Path | str | int, *, progress: ProgressCallback | None = None
    ) -> Blob:
        """Fetch a blob into a file, which appears whole and verified or not at all.

        What was received stays in a hidden file beside it when the pull fails or is cancelled;
        the next pull goes on from there. A symbolic link stays, and the file it points to is
        replaced. A FIFO, a device and a descriptor are written to in order and never replaced: a
        DigestWrong then comes after wrong bytes have been written.

        Raises ClientError (NotFound, DigestWrong), DigestUnsupported, OSError; for a folder or
        a place that cannot be written to before a byte is fetched.
        """
        return await pull.pull(self.requests, digest, to, retries=self._retries, progress=progress)

    def read(self, digest: Digest, span: Span | None = None) -> AsyncGenerator[bytes, None]:
        """Yield a blob, or the bytes of `span` which must lie within it, piece by piece.

        The whole blob is verified: the last piece is followed by DigestWrong if they were not
        its bytes. A span is not. Close the iterator (`contextlib.aclosing`) when leaving early.
        Raises ClientError.
        """
        if span is None:
            return pull.read_whole(self.requests, digest, self._retries)
        return pull.read_span(self.requests, digest, span, self._retries)

    async def stat(self, digest: Digest) -> int:
        """Return a blob's size in bytes. Raises NotFound and other ClientErrors."""
        return await patiently(self._retries, self.requests.stat, digest)

    async def delete(self, digest: Digest) -> None:
        """End the blob API's hold on a blob; it is gone where nobody else holds it.

        Raises NotFound, also when a repeated request finds its predecessor's work done.
        """
        await patiently(self._retries, self.requests.delete, digest)

    async def blobs(self, *, after: Digest | None = None) -> AsyncGenerator[Blob, None]:
        """Yield all blobs in digest order, strictly after `after`. Raises ClientError."""
        while True:
            page = await patiently(self._retries, self.requests.blobs, after=after)
            for blob in page.blobs:
                yield blob
            if page.next_after is None:
                return
            after = page.next_after

    async def uploads(self) -> tuple[Upload, ...]:
        """Return all open uploads. Raises ClientError."""
        return await patiently(self._retries, self.requests.uploads)

    async def offset(self, upload_id: str) -> int:
        """Return how many bytes of an open upload are safe on the server. Raises NotFound."""
        return await patiently(self._retries, self.requests.offset, upload_id)

    async def cancel(self, upload_id: str) -> None:
        """End an open upload and drop its bytes. Raises NotFound and other ClientErrors."""
        await patiently(self._retries, self.requests.cancel, upload_id)


def _read_address(address: str) -> tuple[URL, str | None]:
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if path:
            return URL("http://localhost"), path
    else:
        base = URL(address)
        if base.scheme in ("http", "https") and base.host:
            return base, None
    raise ValueError(f"{address!r} is no address such as http://127.0.0.1:5080 or unix:/path")
