"""One push: begin, append until nothing is left, finish; and after a break, go on at the byte.

The server's answer, not the client's memory, says where to go on. After a break the saved offset
is asked for; where the writer was ahead of it, the next chunk is refused with the true one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.client.backoff import Patience
from blobd.client.errors import (
    ClientError,
    Denied,
    Misplaced,
    NotFound,
    SourceChanged,
    SourceSpent,
)
from blobd.client.models import Blob, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from blobd.client.backoff import Retries
    from blobd.client.models import ProgressCallback
    from blobd.client.requests import Requests
    from blobd.client.sources import Source
    from blobd.digest import Digest, Span

ONE_REQUEST_MAX_BYTES = 64 * 1024
"""Up to this size a blob travels in the one request that would have begun its upload."""


class Push:
    """The state of one push. Used once."""

    def __init__(
        self,
        requests: Requests,
        source: Source,
        *,
        digest: Digest | None,
        algorithm: str,
        upload_id: str | None,
        retries: Retries,
        progress: ProgressCallback | None,
    ) -> None:
        self._requests = requests
        self._source = source
        self._digest = digest
        self._algorithm = algorithm
        self._upload_id = upload_id
        self._may_begin_anew = upload_id is None
        self._patience = Patience(retries)
        self._progress = progress
        self._offset: int | None = None
        self._furthest = 0

    async def run(self) -> Blob:
        """Return the blob once the server has answered that it is stored.

        Raises ClientError, with `upload_id` set where the upload may be continued; OSError when
        the file cannot be read. If cancelled, the upload stays open until the server's limits end
        it.
        """
        try:
            while True:
                try:
                    return await self._try()
                except Misplaced as error:
                    self._stand_at(error.offset)
                    await self._patience.bear(error)
                except NotFound:
                    if not self._may_begin_anew or self._upload_id is None:
                        raise
                    self._may_begin_anew = False
                    self._upload_id = None
                    if not self._source.rewindable:
                        raise SourceSpent(
                            "the server has lost the upload, and a stream cannot be read again: "
                            "give all of it again in a new push"
                        ) from None
                except ClientError as error:
                    await self._patience.bear(error)
        except ClientError as error:
            if self._may_continue(error):
                error.upload_id = self._upload_id
            raise

    async def _try(self) -> Blob:
        source = self._source
        if self._upload_id is None:
            self._upload_id = await self._begin()
            self._offset = 0
        if self._upload_id is None:
            return await self._already_stored()
        offset = self._offset
        if offset is None:
            offset = self._stand_at(await self._requests.offset(self._upload_id))
        while (span := await source.next_chunk(offset)) is not None:
            self._offset = None  # as long as a chunk is under way, only the server knows
            body = self._body(span)
            offset = self._stand_at(await self._requests.append(self._upload_id, span, body))
        digest = await self._whole_digest()
        await self._confirm()
        self._report(offset)
        await self._requests.finish(self._upload_id, digest)
        return Blob(digest, offset)

    async def _begin(self) -> str | None:
        size_bytes = self._source.size_bytes
        if size_bytes is not None and size_bytes <= ONE_REQUEST_MAX_BYTES:
            digest, body = await self._whole_digest(), await self._whole_body(size_bytes)
            await self._confirm()
            return await self._requests.begin(digest=digest, size_bytes=size_bytes, body=body)
        return await self._requests.begin(
            digest=self._digest, algorithm=self._algorithm, size_bytes=size_bytes
        )

    async def _already_stored(self) -> Blob:
        digest = await self._whole_digest()
        size_bytes = self._source.size_bytes
        if size_bytes is None:
            size_bytes = await self._requests.stat(digest)
        self._report(size_bytes)
        return Blob(digest, size_bytes)

    async def _body(self, span: Span) -> AsyncIterator[bytes]:
        at = span.start
        while at < span.stop:
            self._report(at)
            piece = (await self._source.read(at))[: span.stop - at]
            yield piece
            at += len(piece)

    async def _whole_body(self, size_bytes: int) -> bytes:
        body = bytearray()
        while len(body) < size_bytes:
            body += await self._source.read(len(body))
        return bytes(body)

    async def _whole_digest(self) -> Digest:
        return self._digest if self._digest is not None else await self._source.digest()

    async def _confirm(self) -> None:
        """Refuse a mixture of two states of a file; with a known digest the server would."""
        if self._digest is None:
            await self._source.confirm()

    @staticmethod
    def _may_continue(error: ClientError) -> bool:
        ended = isinstance(error, NotFound | Denied | SourceChanged)
        return not ended and error.code != "DIGEST_INVALID"

    def _stand_at(self, offset: int) -> int:
        """Take note of an offset that the server reported; bytes gained renew the patience."""
        self._offset = offset
        if offset > self._furthest:
            self._furthest = offset
            self._patience.moved_on()
        return offset

    def _report(self, done_bytes: int) -> None:
        if self._progress is not None:
            self._progress(Progress(done_bytes, self._source.size_bytes, self._upload_id))
