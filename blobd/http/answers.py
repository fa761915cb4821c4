"""The one table from errors to HTTP, and the documented JSON body.

A front adds rows for its own errors (`add_answers`). Codes are the distribution-spec's; where it
has none, the ones that docker's registry has added. Statuses follow what clients do with them:
docker sends a layer again five times on any code but a few, so a refusal for good is always DENIED.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from blobd import errors
from blobd.digest import MalformedDigest
from blobd.http import errors as http_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_RETRY_AFTER_S = (3, 8)
"""From and to: clients that were refused together do not come back together."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one class of error is answered."""

    status: int
    code: str
    reason: str | None = None
    """The reason phrase where it matters: docker shows nothing else of a 5xx."""
    limit: str | Callable[[Any], str] | None = None
    """The setting under which `blobd_refusals_total` counts it, where a limit refused."""
    headers: Callable[[Any], Mapping[str, str]] | None = None
    """What else the head says, from the error."""
    entries: Callable[[Any], Sequence[tuple[str, Mapping[str, object]]]] | None = None
    """Messages and details, where the body has an entry for each of several things."""


def challenge(error: http_errors.Unauthenticated) -> Mapping[str, str]:
    """Return the header that says where to log in (RFC 9110 section 11.6.1)."""
    return {"WWW-Authenticate": error.challenge}


def _allowed(error: http_errors.MethodUnsupported) -> Mapping[str, str]:
    return {"Allow": ", ".join(error.allowed)}


def _setting(error: errors.TooManyOpenUploads) -> str:
    return error.setting


TABLE: dict[type[BaseException], Answer] = {
    MalformedDigest: Answer(400, "DIGEST_INVALID"),
    errors.BlobNotFound: Answer(404, "BLOB_UNKNOWN"),
    errors.BlobCorrupt: Answer(500, "UNKNOWN", "Internal Server Error: blob damaged in storage"),
    errors.DigestUnsupported: Answer(400, "DIGEST_INVALID"),
    errors.DigestMismatch: Answer(400, "DIGEST_INVALID"),
    errors.UploadUnknown: Answer(404, "BLOB_UPLOAD_UNKNOWN"),
    errors.UploadExpired: Answer(403, "DENIED", limit="upload_timeout_s"),
    errors.UploadOvertaken: Answer(416, "BLOB_UPLOAD_INVALID"),
    errors.UploadBusy: Answer(503, "UNAVAILABLE"),
    errors.OffsetMismatch: Answer(416, "BLOB_UPLOAD_INVALID"),
    errors.SizeMismatch: Answer(400, "SIZE_INVALID"),
    errors.BlobTooLarge: Answer(413, "DENIED", limit="max_blob_bytes"),
    errors.BodyBroken: Answer(400, "BLOB_UPLOAD_INVALID"),
    errors.BodyIdle: Answer(408, "BLOB_UPLOAD_INVALID", limit="idle_timeout_s"),
    errors.BodyMalformed: Answer(400, "BLOB_UPLOAD_INVALID"),
    http_errors.RangeMalformed: Answer(416, "BLOB_UPLOAD_INVALID"),
    http_errors.DigestMissing: Answer(400, "DIGEST_INVALID"),
    http_errors.RequestInvalid: Answer(400, "UNSUPPORTED"),
    http_errors.MediaTypeUnsupported: Answer(415, "UNSUPPORTED"),
    http_errors.CrossSite: Answer(403, "DENIED"),
    errors.StorageFull: Answer(
        507,
        "DENIED",
        "Insufficient Storage: no space left on device",
        limit="min_free_bytes",
    ),
    errors.StorageLost: Answer(503, "UNAVAILABLE"),
    errors.BackendUnavailable: Answer(503, "UNAVAILABLE"),
    http_errors.TooManyConnections: Answer(503, "UNAVAILABLE"),
    errors.TooManyOpenUploads: Answer(429, "TOOMANYREQUESTS", limit=_setting),
    errors.AccountBusy: Answer(429, "TOOMANYREQUESTS", limit="account_share_percent"),
    errors.TooManyUploads: Answer(429, "TOOMANYREQUESTS", limit="max_uploads"),
    errors.BudgetExhausted: Answer(429, "TOOMANYREQUESTS", limit="bytes_in_flight_max_bytes"),
    errors.Refused: Answer(409, "DENIED"),
    errors.TextInvalid: Answer(400, "UNSUPPORTED"),
    http_errors.PageInvalid: Answer(400, "PAGINATION_NUMBER_INVALID"),
    http_errors.RouteUnknown: Answer(404, "UNSUPPORTED"),
    http_errors.MethodUnsupported: Answer(405, "UNSUPPORTED", headers=_allowed),
    http_errors.Unauthenticated: Answer(401, "UNAUTHORIZED", headers=challenge),
    http_errors.CredentialMalformed: Answer(401, "UNAUTHORIZED", headers=challenge),
    http_errors.HeadTooSlow: Answer(408, "UNSUPPORTED"),
    http_errors.BodyTooSlow: Answer(408, "UNSUPPORTED"),
    http_errors.HeadMalformed: Answer(400, "UNSUPPORTED"),
    http_errors.HeadTooLarge: Answer(431, "UNSUPPORTED"),
    http_errors.TargetTooLong: Answer(414, "UNSUPPORTED"),
    http_errors.ExpectationUnsupported: Answer(417, "UNSUPPORTED"),
    http_errors.TlsOnPlainPort: Answer(400, "UNSUPPORTED"),
}
UNEXPECTED = Answer(500, "UNKNOWN")


def add_answers(rows: Mapping[type[BaseException], Answer]) -> None:
    """Add the rows of a front's own errors to the table."""
    TABLE.update(rows)


def answer_for(error: BaseException) -> Answer:
    """Return the row of an error's class; what is not in the table is a bug, answered with 500."""
    return TABLE.get(type(error), UNEXPECTED)


def limit_of(error: BaseException) -> str | None:
    """Return the setting under which a refusal is counted; None for what no limit refused."""
    limit = answer_for(error).limit
    return limit(error) if callable(limit) else limit


def message_of(error: BaseException) -> str:
    """Return what a client may read of an error; nothing of what is not blobd's own.

    That may hold statements, paths or people's values.
    """
    if answer_for(error) is UNEXPECTED:
        return "an internal error; see the server's log"
    return str(error)


def error_response(error: BaseException) -> web.Response:
    """Return the answer to an error: status, code, message, detail, and Retry-After."""
    answer = answer_for(error)
    response = web.Response(
        status=answer.status,
        reason=answer.reason,
        body=error_body(answer.code, message_of(error), None if answer is UNEXPECTED else error),
        content_type="application/json",
    )
    if getattr(error, "retryable", False) and answer.status != 507:
        wait_s = getattr(error, "wait_s", None)
        if wait_s is None:
            wait_s = random.randint(*_RETRY_AFTER_S)  # noqa: S311 no secret
        response.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if answer.headers is not None:
        response.headers.update(answer.headers(error))
    return response


def error_body(code: str, message: str, error: BaseException | None = None) -> bytes:
    """Return the distribution's error JSON; one entry per digest where several are missing."""
    entries_of = None if error is None else answer_for(error).entries
    found = [(message, _facts(error))] if entries_of is None else entries_of(error)
    entries = [{"code": code, "message": text, "detail": detail} for text, detail in found]
    return json.dumps({"errors": entries}).encode()


def _facts(error: BaseException | None) -> dict[str, object]:
    """Return an error's attributes as JSON values."""
    if error is None:
        return {}
    return {
        name: _json_value(value)
        for name, value in vars(error).items()
        if not name.startswith("_") and name != "challenge"
    }


def _json_value(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, tuple | list):
        return [_json_value(one) for one in value]
    return str(value)
