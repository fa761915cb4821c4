"""The upload protocol, once for both fronts: POST, PATCH, PUT, GET and DELETE of a session.

Distribution-spec end-4 to end-6, end-13 and end-14. A front routes, authorises and says where
things are; everything else about an upload's HTTP is here.

Every Location of a session ends in the offset at which it stands (`…/uploads/<id>.<offset>`). A
PATCH without Content-Range appends only there: repeated after its answer was lost, it names an
offset that the upload has left, and is refused instead of being appended twice. Clients take the
Location of the last answer, as the specification says and docker's own registry insists; one that
names the upload alone appends wherever it ends.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from blobd.digest import Digest, Span
from blobd.errors import (
    DigestUnsupported,
    OffsetMismatch,
    UploadBusy,
    UploadOvertaken,
    UploadUnknown,
)
from blobd.hashing import EMPTY_DIGESTS
from blobd.http.answers import error_response
from blobd.http.errors import DigestMissing, RangeMalformed, RequestInvalid
from blobd.http.middleware import body_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.backends.base import Committed
    from blobd.config import Limits
    from blobd.http.bodies import WireBody
    from blobd.session import Upload
    from blobd.store import BlobHolder
    from blobd.uploads import Uploads

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?\s*([0-9]+-[0-9]+)(?:/(?:\*|[0-9]+))?")
"""The spec writes `0-99` (R31); some clients write `bytes 0-99/*`."""
UPLOAD = r"(?P<upload_id>[^/]+?)(?:\.[0-9]{1,19})?"
"""The last segment of an upload's path, for the fronts' routes."""
_OFFSET = re.compile(r".*\.([0-9]{1,19})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class UploadContext:
    """What an authorised caller may do, and where its front puts things."""

    owner: str
    """Whose session it is; a session is unknown to every other owner."""
    account: str | None
    """Whose share of the limits is used; None: a caller that acts for many."""
    holder: BlobHolder
    upload_location: Callable[[str, int], str]
    """From an upload's id and offset to the path for its next request, which ends as `UPLOAD`."""
    blob_location: Callable[[Digest], str]


class UploadProtocol:
    """From requests on upload sessions to answers."""

    def __init__(self, uploads: Uploads, limits: Limits) -> None:
        self._uploads = uploads
        self._limits = limits

    async def start(self, request: web.BaseRequest, context: UploadContext) -> web.Response:
        """POST: open a session (202), or with `digest=` and a body store it at once (201).

        A request without a body is the whole of the empty blob where `digest=` is that of nothing
        (R27). Any other `digest=` without a body announces the algorithm, as `digest-algorithm=`
        does (R29).
        """
        query = request.query
        digest = Digest.parse(query["digest"]) if "digest" in query else None
        algorithm = query.get("digest-algorithm", digest.algorithm if digest else "sha256")
        if digest is not None and not digest.supported:
            raise DigestUnsupported(digest.algorithm)
        body = self._body(request)
        size_bytes = _whole_number(query.get("size", "0"))
        if body is not None:
            size_bytes = max(size_bytes, body.length_bytes or 0)
        upload = await self._uploads.start(
            context.owner, algorithm=algorithm, size_bytes=size_bytes, account=context.account
        )
        if digest is None or (body is None and digest not in EMPTY_DIGESTS):
            return _session_answer(202, context, upload)
        try:
            committed = await self._uploads.finish(
                upload.upload_id,
                context.owner,
                digest,
                context.holder,
                body=body,
                untold=True,
                account=context.account,
            )
        except BaseException:
            with suppress(UploadUnknown, UploadBusy, UploadOvertaken):
                await self._uploads.cancel(upload.upload_id, context.owner)
            raise
        return _blob_answer(context, committed)

    async def append(
        self, request: web.BaseRequest, context: UploadContext, upload_id: str
    ) -> web.Response:
        """PATCH: 202 with the range so far; 416 with it where the chunk does not fit."""
        body = body_of(request, self._limits.idle_timeout_s)
        try:
            span = _span(request)
            upload = await self._uploads.append(
                upload_id,
                context.owner,
                body,
                span=span,
                start=_offset(request),
                account=context.account,
            )
        except (OffsetMismatch, UploadOvertaken, RangeMalformed) as error:
            return await self._misplaced(context, upload_id, error)
        return _session_answer(202, context, upload)

    async def finish(
        self, request: web.BaseRequest, context: UploadContext, upload_id: str
    ) -> web.Response:
        """PUT: close the session as the blob `digest=`, with or without last bytes (201)."""
        text = request.query.get("digest")
        if text is None:
            raise DigestMissing
        digest = Digest.parse(text)
        body = self._body(request)
        try:
            committed = await self._uploads.finish(
                upload_id,
                context.owner,
                digest,
                context.holder,
                body=body,
                span=_span(request),
                account=context.account,
            )
        except (OffsetMismatch, UploadOvertaken, RangeMalformed) as error:
            return await self._misplaced(context, upload_id, error)
        if body is not None and not body.ended:
            # A PUT repeated after its 201 was lost: its body is taken in, whole, for nothing.
            await body.discard(
                limit_bytes=self._limits.max_blob_bytes,
                limit_s=self._limits.upload_timeout_s or self._limits.upload_idle_expiry_s,
            )
        return _blob_answer(context, committed)

    async def status(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        context: UploadContext,
        upload_id: str,
    ) -> web.Response:
        """GET or HEAD: 204 with the last saved offset (R38)."""
        upload = await self._uploads.status(upload_id, context.owner)
        return _no_range_of_nothing(_session_answer(204, context, upload), upload)

    async def cancel(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        context: UploadContext,
        upload_id: str,
    ) -> web.Response:
        """DELETE: end the session (204, R40)."""
        await self._uploads.cancel(upload_id, context.owner)
        return web.Response(status=204)

    def _body(self, request: web.BaseRequest) -> WireBody | None:
        """Return the body of a request that has one."""
        if request.content_length == 0 or not request.body_exists:
            return None
        return body_of(request, self._limits.idle_timeout_s)

    async def _misplaced(
        self, context: UploadContext, upload_id: str, error: Exception
    ) -> web.Response:
        """Answer 416 with what a client needs to go on from the right place."""
        upload = await self._uploads.status(upload_id, context.owner)
        response = error_response(error)
        response.headers.update(_session_headers(context, upload))
        return _no_range_of_nothing(response, upload)


def _session_answer(status: int, context: UploadContext, upload: Upload) -> web.Response:
    return web.Response(status=status, headers=_session_headers(context, upload))


def _session_headers(context: UploadContext, upload: Upload) -> dict[str, str]:
    return {
        "Location": context.upload_location(upload.upload_id, upload.offset),
        "Range": str(Span(0, upload.offset)),
        "Docker-Upload-UUID": upload.upload_id,
    }


def _no_range_of_nothing(response: web.Response, upload: Upload) -> web.Response:
    """Take the Range off an answer that says where to go on, if the upload has no byte.

    An inclusive range cannot say that: `0-0` is one byte, and a client that goes on behind it would
    be refused. The answers to POST and PATCH keep `0-0`: there docker fails without a Range, and
    on `0--1` (go-gitea/gitea issues 34724 and 34792), and the client knows what it has sent.
    """
    if upload.offset == 0:
        del response.headers["Range"]
    return response


def _blob_answer(context: UploadContext, committed: Committed) -> web.Response:
    return web.Response(
        status=201,
        headers={
            "Location": context.blob_location(committed.digest),
            "Docker-Content-Digest": str(committed.digest),
        },
    )


def _span(request: web.BaseRequest) -> Span | None:
    """Return where the client says its chunk lies. Raises RangeMalformed."""
    text = request.headers.get("Content-Range")
    if text is None:
        return None
    match = _CONTENT_RANGE.fullmatch(text.strip())
    try:
        return Span.parse(match[1] if match is not None else text)
    except ValueError as error:
        raise RangeMalformed(f"Content-Range: {error}") from error


def _offset(request: web.BaseRequest) -> int | None:
    """Return the offset of the Location that the client has taken; None where it names none."""
    match = _OFFSET.fullmatch(request.path)
    return None if match is None else int(match[1])


def _whole_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise RequestInvalid(f"size={text[:40]!r} is not a number of bytes")
    return int(text)
