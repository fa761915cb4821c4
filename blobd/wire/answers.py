"""The one table from blobd's errors to HTTP, and the documented JSON body.

Codes are the distribution-spec's (R70); where it has none, the ones that docker's registry has
added. Statuses follow what clients do with them: docker sends a layer again five times on any
code but a few, so a refusal for good is always DENIED.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from blobd import errors
from blobd.digest import MalformedDigest

if TYPE_CHECKING:
    from collections.abc import Mapping

_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """How one class of error is told to a client."""

    status: int
    code: str
    reason: str | None = None
    """The reason phrase where it matters: docker shows nothing else of a 5xx."""


TABLE: Mapping[type[BaseException], Answer] = {
    MalformedDigest: Answer(400, "DIGEST_INVALID"),
    errors.BlobNotFound: Answer(404, "BLOB_UNKNOWN"),
    errors.BlobCorrupt: Answer(500, "UNKNOWN", "Internal Server Error: blob damaged in storage"),
    errors.DigestUnsupported: Answer(400, "DIGEST_INVALID"),
    errors.DigestMismatch: Answer(400, "DIGEST_INVALID"),
    errors.UploadUnknown: Answer(404, "BLOB_UPLOAD_UNKNOWN"),
    errors.UploadExpired: Answer(403, "DENIED"),
    errors.UploadOvertaken: Answer(416, "BLOB_UPLOAD_INVALID"),
    errors.UploadBusy: Answer(503, "UNAVAILABLE"),
    errors.OffsetMismatch: Answer(416, "BLOB_UPLOAD_INVALID"),
    errors.SizeMismatch: Answer(400, "SIZE_INVALID"),
    errors.BlobTooLarge: Answer(413, "DENIED"),
    errors.BodyBroken: Answer(400, "BLOB_UPLOAD_INVALID"),
    errors.BodyIdle: Answer(408, "BLOB_UPLOAD_INVALID"),
    errors.BodyMalformed: Answer(400, "BLOB_UPLOAD_INVALID"),
    errors.RangeMalformed: Answer(416, "BLOB_UPLOAD_INVALID"),
    errors.DigestMissing: Answer(400, "DIGEST_INVALID"),
    errors.RequestInvalid: Answer(400, "UNSUPPORTED"),
    errors.TooManyScopes: Answer(400, "UNSUPPORTED"),
    errors.MediaTypeUnsupported: Answer(415, "UNSUPPORTED"),
    errors.CrossSite: Answer(403, "DENIED"),
    errors.StorageFull: Answer(507, "DENIED", "Insufficient Storage: no space left on device"),
    errors.StorageLost: Answer(503, "UNAVAILABLE"),
    errors.BackendUnavailable: Answer(503, "UNAVAILABLE"),
    errors.TooManyConnections: Answer(503, "UNAVAILABLE"),
    errors.TooManyOpenUploads: Answer(429, "TOOMANYREQUESTS"),
    errors.AccountBusy: Answer(429, "TOOMANYREQUESTS"),
    errors.TooManyUploads: Answer(429, "TOOMANYREQUESTS"),
    errors.BudgetExhausted: Answer(429, "TOOMANYREQUESTS"),
    errors.NameInvalid: Answer(400, "NAME_INVALID"),
    errors.NameUnknown: Answer(404, "NAME_UNKNOWN"),
    errors.AccountInvalid: Answer(400, "NAME_INVALID"),
    errors.Unknown: Answer(404, "NAME_UNKNOWN"),
    errors.Taken: Answer(409, "DENIED"),
    errors.Refused: Answer(409, "DENIED"),
    errors.LastVersion: Answer(400, "DENIED"),
    errors.TextInvalid: Answer(400, "UNSUPPORTED"),
    errors.TagImmutable: Answer(409, "DENIED"),
    errors.TooPopular: Answer(403, "DENIED"),
    errors.TagInvalid: Answer(400, "TAG_INVALID"),
    errors.ManifestUnknown: Answer(404, "MANIFEST_UNKNOWN"),
    errors.ManifestChildMissing: Answer(404, "MANIFEST_UNKNOWN"),
    errors.ManifestInvalid: Answer(400, "MANIFEST_INVALID"),
    errors.ManifestTooLarge: Answer(413, "MANIFEST_INVALID"),
    errors.ManifestTooSlow: Answer(408, "MANIFEST_INVALID"),
    errors.ManifestReferencesUnknown: Answer(400, "MANIFEST_BLOB_UNKNOWN"),
    errors.DescriptorSizeWrong: Answer(400, "MANIFEST_INVALID"),
    errors.TooManyTags: Answer(414, "TAG_INVALID"),
    errors.PageInvalid: Answer(400, "PAGINATION_NUMBER_INVALID"),
    errors.RouteUnknown: Answer(404, "UNSUPPORTED"),
    errors.MethodUnsupported: Answer(405, "UNSUPPORTED"),
    errors.Unauthenticated: Answer(401, "UNAUTHORIZED"),
    errors.CredentialMalformed: Answer(401, "UNAUTHORIZED"),
    errors.BearerInvalid: Answer(401, "UNAUTHORIZED"),
    errors.LoginNeeded: Answer(401, "UNAUTHORIZED"),
    errors.TokenRefused: Answer(401, "UNAUTHORIZED"),
    errors.ScopeMissing: Answer(401, "UNAUTHORIZED"),
    errors.Forbidden: Answer(403, "DENIED"),
    errors.WorkflowNotGranted: Answer(403, "DENIED"),
    errors.NotForWorkflows: Answer(403, "DENIED"),
    errors.NamespaceClosed: Answer(404, "NAME_UNKNOWN"),
    errors.NamespaceMissing: Answer(403, "DENIED"),
    errors.TokenTooNarrow: Answer(403, "DENIED"),
    errors.TooManyFailures: Answer(429, "TOOMANYREQUESTS"),
    errors.HeadTooSlow: Answer(408, "UNSUPPORTED"),
    errors.HeadMalformed: Answer(400, "UNSUPPORTED"),
    errors.HeadTooLarge: Answer(431, "UNSUPPORTED"),
    errors.TargetTooLong: Answer(414, "UNSUPPORTED"),
    errors.ExpectationUnsupported: Answer(417, "UNSUPPORTED"),
    errors.TlsOnPlainPort: Answer(400, "UNSUPPORTED"),
}
UNEXPECTED = Answer(500, "UNKNOWN")


def answer_for(error: BaseException) -> Answer:
    """Return the row of an error's class; what is not in the table is a bug, told as a 500."""
    return TABLE.get(type(error), UNEXPECTED)


def message_of(error: BaseException) -> str:
    """Return what a client is told; nothing of what is not blobd's own.

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
        wait_s = error.wait_s if isinstance(error, errors.TooManyFailures) else _RETRY_AFTER_S
        response.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if isinstance(error, errors.MethodUnsupported):
        response.headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, errors.Unauthenticated):
        response.headers["WWW-Authenticate"] = error.challenge
    return response


def error_body(code: str, message: str, error: BaseException | None = None) -> bytes:
    """Return the distribution's error JSON; one entry per digest where several are missing."""
    if isinstance(error, errors.ManifestReferencesUnknown):
        entries = [
            {
                "code": code,
                "message": f"{digest} is not in this repository",
                "detail": {"digest": str(digest)},
            }
            for digest in error.digests
        ]
    else:
        entries = [{"code": code, "message": message, "detail": _facts(error)}]
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
