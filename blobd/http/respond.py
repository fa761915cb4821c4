"""From a Source to the socket: whole blobs, ranges, validators; the one way that bytes leave."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from aiohttp import web

from blobd.backends.base import FileSource, RemoteSource, StreamSource
from blobd.digest import Digest, Span
from blobd.http.answers import error_body
from blobd.http.headers import PRIVATE_FOR_GOOD, complete
from blobd.http.multipart import (
    BATCH_BYTES,
    Collection,
    Envelope,
    Filling,
    Run,
    file_batches,
    stream_groups,
)
from blobd.http.ranges import Failed, NotModified, Partial, Unsatisfiable, Whole, decide
from blobd.http.sendfile import FileSender, can_send_files

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from blobd.backends.base import Buffer, Source
    from blobd.http.multipart import Fetch, Part
    from blobd.metrics import Metrics
    from blobd.threads import Threads

    Read = Callable[[Span], AsyncGenerator[Buffer]]

_STALL_S = 60.0
_READ_BYTES = 256 * 1024
_FETCHES_AT_ONCE = 4
"""Of one answer: a source may hold two pieces of 1 MiB for each."""


@dataclass(frozen=True, slots=True)
class Responder:
    """Sends blobs. One per process."""

    threads: Threads
    metrics: Metrics
    stall_s: float = _STALL_S

    async def send_blob(
        self,
        request: web.BaseRequest,
        digest: Digest,
        source: Source,
        *,
        cache_control: str = PRIVATE_FOR_GOOD,
    ) -> web.StreamResponse:
        """Answer a GET of a blob, in full or in part, and close the source.

        200, 206 (one range, or several as multipart/byteranges), 304, 412 or 416 with
        `Content-Range: bytes */N`. A remote source is answered 307 for all of it and for one
        range; several are sent from here, because engines answer them with the whole object.
        Never a Content-Encoding. A client that goes away ends the work with the call that
        notices. If cancelled, the connection is cut.
        """
        try:
            headers = _headers(digest, cache_control)
            decision = decide(request.headers, etag=headers["ETag"], size_bytes=source.size_bytes)
            if isinstance(decision, NotModified | Failed | Unsatisfiable):
                return _without_bytes(decision, headers, source.size_bytes)
            if isinstance(source, RemoteSource) and not source.size_bytes:
                return web.Response(headers=headers)  # S3 refuses any Range on an empty object
            if isinstance(decision, Partial) and len(decision.spans) > 1:
                return await self._send_multipart(request, headers, source, decision.spans)
            if isinstance(source, RemoteSource):
                # The URL is signed for a while: anyone who has it can read, so it must not be
                # cached.
                headers |= {"Location": source.url, "Cache-Control": "no-store"}
                return web.Response(status=307, headers=headers)
            return await self._send_span(request, headers, source, decision)
        finally:
            await source.aclose()

    async def _send_span(
        self,
        request: web.BaseRequest,
        headers: dict[str, str],
        source: FileSource | StreamSource,
        decision: Whole | Partial,
    ) -> web.StreamResponse:
        span = Span(0, source.size_bytes) if isinstance(decision, Whole) else decision.spans[0]
        response = web.StreamResponse(headers=headers)
        if isinstance(decision, Partial):
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {span}/{source.size_bytes}"
        response.content_length = span.size_bytes
        complete(response)
        await response.prepare(request)
        await self._send(request, response, source, span)
        return response

    async def _send_multipart(
        self,
        request: web.BaseRequest,
        headers: dict[str, str],
        source: Source,
        spans: tuple[Span, ...],
    ) -> web.StreamResponse:
        envelope = Envelope.around(spans, blob_bytes=source.size_bytes)
        response = web.StreamResponse(status=206, headers=headers)
        response.headers["Content-Type"] = envelope.content_type
        response.content_length = envelope.length_bytes
        complete(response)
        await response.prepare(request)
        with _cut_on_failure(request):
            if isinstance(source, FileSource):
                await self._send_file_parts(request, response, source, envelope.parts)
            else:
                await self._send_stream_parts(request, response, source.read, envelope.parts)
            await self._write(response, envelope.close, blob_bytes=0)
        return response

    async def _send_file_parts(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        source: FileSource,
        parts: Sequence[Part],
    ) -> None:
        for batch in file_batches(parts):
            data = await self.threads.run(batch.read, source.fd)
            await self._write(response, data, blob_bytes=batch.blob_bytes)
            if batch.large is not None:
                await self._send(request, response, source, batch.large.span)

    async def _send_stream_parts(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        read: Read,
        parts: Sequence[Part],
    ) -> None:
        for group in stream_groups(parts):
            if group.ascends:
                await self._send_run(request, response, read, Run(group))
            else:
                collection = Collection(group)
                await _collect(request, read, collection.fetches)
                await self._write(response, collection.data, blob_bytes=group.blob_bytes)

    async def _send_run(
        self, request: web.BaseRequest, response: web.StreamResponse, read: Read, run: Run
    ) -> None:
        waiting: list[Buffer] = []
        waiting_bytes = sent_bytes = 0
        async with aclosing(_present(request, read(run.span))) as pieces:
            async for piece in pieces:
                for each in run.cut(piece):
                    waiting.append(each)
                    waiting_bytes += len(each)
                if waiting_bytes >= BATCH_BYTES:
                    data, waiting, waiting_bytes = b"".join(waiting), [], 0
                    await self._write(response, data, blob_bytes=run.cut_bytes - sent_bytes)
                    sent_bytes = run.cut_bytes
        await self._write(response, b"".join(waiting), blob_bytes=run.cut_bytes - sent_bytes)

    async def _send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        source: FileSource | StreamSource,
        span: Span,
    ) -> None:
        """Send one span. A failure after the head cuts the connection: never a wrong length."""
        with _cut_on_failure(request):
            if isinstance(source, FileSource) and span.size_bytes and can_send_files(request):
                request.writer.send_headers()
                sender = FileSender(request, self.threads, stall_s=self.stall_s)
                await sender.send(source.fd, span, sent=self.metrics.sent_bytes.inc)
                return
            async with aclosing(self._pieces(source, span)) as pieces:
                async for piece in pieces:
                    await self._write(response, piece, blob_bytes=len(piece))

    async def _write(
        self, response: web.StreamResponse, piece: Buffer | bytearray, *, blob_bytes: int
    ) -> None:
        try:
            async with asyncio.timeout(self.stall_s):
                await response.write(piece)
        except TimeoutError as error:
            raise ConnectionResetError("the client takes nothing") from error
        self.metrics.sent_bytes.inc(blob_bytes)

    async def _pieces(
        self, source: FileSource | StreamSource, span: Span
    ) -> AsyncGenerator[Buffer]:
        match source:
            case FileSource():
                position = span.start
                while position < span.stop:
                    count = min(_READ_BYTES, span.stop - position)
                    data = await self.threads.run(os.pread, source.fd, count, position)
                    if not data:
                        raise ConnectionResetError("the file ended before its span did")
                    position += len(data)
                    yield data
            case StreamSource():
                async with aclosing(source.read(span)) as pieces:
                    async for piece in pieces:
                        yield piece
            case _:
                assert_never(source)


async def _collect(request: web.BaseRequest, read: Read, fetches: Sequence[Fetch]) -> None:
    """Fill the places of all fetches, some fetches at a time. Raises what reading raises."""
    following = iter(fetches)

    async def fetch_in_turn() -> None:
        for fetch in following:
            filling = Filling(fetch)
            async with aclosing(_present(request, read(fetch.span))) as pieces:
                async for piece in pieces:
                    filling.add(piece)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_FETCHES_AT_ONCE, len(fetches))):
                group.create_task(fetch_in_turn())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _present(
    request: web.BaseRequest, pieces: AsyncGenerator[Buffer]
) -> AsyncGenerator[Buffer]:
    """Yield the pieces, and close them. Raises ConnectionResetError once the client is gone.

    Nothing may be written for long while gaps are skipped and parts collected, so that writing
    does not notice.
    """
    async with aclosing(pieces):
        async for piece in pieces:
            if request.transport is None:
                raise ConnectionResetError("the client has gone")
            yield piece


@contextmanager
def _cut_on_failure(request: web.BaseRequest) -> Iterator[None]:
    """Cut the connection when the block fails: after the head there is no other way to say so."""
    try:
        yield
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise


def head_blob(
    request: web.BaseRequest,
    digest: Digest,
    size_bytes: int,
    *,
    cache_control: str = PRIVATE_FOR_GOOD,
) -> web.Response:
    """Answer a HEAD of a blob: what GET would send, without the bytes, and never a redirect."""
    headers = _headers(digest, cache_control)
    decision = decide(
        {name: value for name, value in request.headers.items() if name.lower() != "range"},
        etag=headers["ETag"],
        size_bytes=size_bytes,
    )
    if isinstance(decision, NotModified | Failed):
        return _without_bytes(decision, headers, size_bytes)
    return web.Response(headers={**headers, "Content-Length": str(size_bytes)})


def _headers(digest: Digest, cache_control: str) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": cache_control,
    }


def _without_bytes(
    decision: NotModified | Failed | Unsatisfiable, headers: dict[str, str], size_bytes: int
) -> web.Response:
    match decision:
        case NotModified():
            del headers["Content-Type"]
            return web.Response(status=304, headers=headers)
        case Failed():
            body = error_body("BLOB_UNKNOWN", "the blob is not what If-Match names")
            return web.Response(status=412, body=body, content_type="application/json")
        case Unsatisfiable():
            body = error_body("RANGE_INVALID", f"the blob has {size_bytes} bytes")
            return web.Response(
                status=416,
                body=body,
                content_type="application/json",
                headers={"Content-Range": f"bytes */{size_bytes}", "Accept-Ranges": "bytes"},
            )
        case _:
            assert_never(decision)
