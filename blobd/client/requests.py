"""Every request of the blob API as one call: no retries, and a class for each kind of failure.

The client builds on these; a registry frontend that has pieces of its own to pass on may use them
directly. Each raises Unreachable, Unavailable, Denied, Refused or AnswerMalformed; what it raises
besides is said with the call. If cancelled, the server may or may not have done what was asked.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blobd.client.errors import AnswerMalformed, Misplaced, NotFound, refusal
from blobd.client.models import Blob, BlobPage, Upload
from blobd.digest import Digest, MalformedDigest, Span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

    import aiohttp

    from blobd.client.exchange import Transport


class Requests:
    """One method per request."""

    def __init__(self, exchanges: Transport) -> None:
        self._exchanges = exchanges

    async def begin(
        self,
        *,
        digest: Digest | None = None,
        algorithm: str | None = None,
        size_bytes: int | None = None,
        body: bytes = b"",
    ) -> str | None:
        """Begin an upload; return its id, or None when the blob is there, finished, already.

        `body` with `digest` is the whole blob, in one request. What is announced (`size_bytes`,
        `algorithm`) is checked against the limits before a byte is sent.
        """
        query: dict[str, str] = {}
        if digest is not None:
            query["digest"] = str(digest)
        elif algorithm is not None:
            query["digest-algorithm"] = algorithm
        if size_bytes is not None:
            query["size"] = str(size_bytes)
        answer = await self._exchanges.ask(
            "POST", "/uploads", query=query, data=body, ok=(201, 202)
        )
        async with answer:
            if answer.status == 201:
                return None
            return _header(answer, "Docker-Upload-UUID")

    async def append(self, upload_id: str, span: Span, body: bytes | AsyncIterable[bytes]) -> int:
        """Send the bytes of `span`; return the offset at which the upload stands now.

        Raises NotFound; Misplaced, with the upload unchanged, when it does not stand at the
        span's start.
        """
        headers = {"Content-Range": str(span), "Content-Length": str(span.size_bytes)}
        answer = await self._exchanges.ask(
            "PATCH", f"/uploads/{upload_id}", headers=headers, data=body, ok=(202, 416)
        )
        async with answer:
            offset = _offset(answer, refused_at=span.start if answer.status == 416 else None)
            if answer.status == 416:
                refused = refusal(416, answer.headers, await self._exchanges.error_body(answer))
                raise Misplaced(416, refused.code, refused.message, offset=offset)
            return offset

    async def finish(self, upload_id: str, digest: Digest) -> None:
        """Turn an upload whose bytes are all there into a blob. May be repeated for an hour.

        Raises NotFound; Refused with DIGEST_INVALID when the bytes hash to something else: then
        the upload has ended.
        """
        query = {"digest": str(digest)}
        answer = await self._exchanges.ask(
            "PUT", f"/uploads/{upload_id}", query=query, data=b"", ok=(201,)
        )
        async with answer:
            pass

    async def offset(self, upload_id: str) -> int:
        """Return the offset that the server has saved; a writer may be ahead of it.

        Raises NotFound.
        """
        async with await self._exchanges.ask("GET", f"/uploads/{upload_id}", ok=(204,)) as answer:
            return _offset(answer)

    async def cancel(self, upload_id: str) -> None:
        """End an upload and drop its bytes. Raises NotFound."""
        async with await self._exchanges.ask("DELETE", f"/uploads/{upload_id}", ok=(204,)):
            pass

    async def uploads(self) -> tuple[Upload, ...]:
        """Return all open uploads."""
        async with await self._exchanges.ask("GET", "/uploads", ok=(200,)) as answer:
            document = await self._exchanges.document(answer)
        try:
            return tuple(
                Upload(
                    id=str(entry["id"]),
                    offset=int(entry["offset"]),
                    algorithm=str(entry["algorithm"]),
                    owner=str(entry["owner"]),
                    created_at=float(entry["created_at"]),
                    touched_at=float(entry["touched_at"]),
                )
                for entry in document["uploads"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AnswerMalformed(f"the list of uploads cannot be read: {error!r}") from error

    async def stat(self, digest: Digest) -> int:
        """Return a blob's size in bytes. Raises NotFound."""
        async with await self._exchanges.ask("HEAD", f"/blobs/{digest}", ok=(200, 404)) as answer:
            if answer.status == 404:
                raise NotFound(404, "BLOB_UNKNOWN", f"blob {digest} is not known here")
            text = _header(answer, "Content-Length")
            if not text.isdigit():
                raise AnswerMalformed(f"Content-Length {text!r} is not a size")
            return int(text)

    async def delete(self, digest: Digest) -> None:
        """End the blob API's hold on a blob. Raises NotFound."""
        async with await self._exchanges.ask("DELETE", f"/blobs/{digest}", ok=(202, 204)):
            pass

    async def blobs(self, *, after: Digest | None = None, limit: int | None = None) -> BlobPage:
        """Return a page of blobs in digest order, strictly after `after`."""
        query = {"after": str(after)} if after is not None else {}
        if limit is not None:
            query["limit"] = str(limit)
        async with await self._exchanges.ask("GET", "/blobs", query=query, ok=(200,)) as answer:
            document = await self._exchanges.document(answer)
        try:
            found = tuple(
                Blob(Digest.parse(entry["digest"]), int(entry["size"]))
                for entry in document["blobs"]
            )
            following = document["next"]
            return BlobPage(found, Digest.parse(following) if following else None)
        except (KeyError, TypeError, MalformedDigest, ValueError) as error:
            raise AnswerMalformed(f"the list of blobs cannot be read: {error!r}") from error

    @asynccontextmanager
    async def open(self, digest: Digest, span: Span) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open the bytes of `span`, which is not empty, and yield a generator of pieces.

        The generator ends early, without an error, when the answer does. Raises NotFound.
        """
        headers = {"Range": f"bytes={span}"}
        async with await self._exchanges.ask(
            "GET", f"/blobs/{digest}", headers=headers, ok=(206,)
        ) as answer:
            got = _header(answer, "Content-Range")
            if not got.startswith(f"bytes {span}/"):
                raise AnswerMalformed(f"asked for bytes {span}, got {got!r}")
            yield self._exchanges.pieces(answer)


def _header(answer: aiohttp.ClientResponse, name: str) -> str:
    value = answer.headers.get(name)
    if value is None:
        raise AnswerMalformed(f"{answer.method} {answer.url.path} was answered without {name}")
    return value


def _offset(answer: aiohttp.ClientResponse, *, refused_at: int | None = None) -> int:
    """Return the offset that a Range header gives; without one there is no byte yet.

    Some servers say `0-0` then too. `refused_at`: a chunk from there was just refused.
    """
    text = answer.headers.get("Range")
    if text is None:
        return 0
    try:
        span = Span.parse(text)
    except ValueError as error:
        raise AnswerMalformed(f"Range {text!r} gives no offset") from error
    return 0 if span.stop == refused_at == 1 else span.stop
