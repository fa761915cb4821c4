"""What can go wrong for a client, as a small tree.

ClientError            everything below; a BlobdError
    Unreachable        no answer: refused, dropped, silent for too long
    AnswerMalformed    an answer that is not the blob API's
    DigestWrong        bytes were received that are not the blob
    SourceSpent        a stream cannot give bytes again that the server needs again
        SourceChanged  a file grew, shrank or was written to while it was pushed
    Refused            the server answered with an error
        NotFound       no such blob or upload
        Denied         not allowed: credentials, or a limit that will not change
        Misplaced      the upload stands at another byte than the chunk
        Unavailable    trouble that passes: overload, restart, storage
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from blobd.errors import BlobdError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blobd.digest import Digest

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class ClientError(BlobdError):
    """Every failure of the client. `status` is None where there was no answer."""

    code: str = "UNKNOWN"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.status: int | None = None
        self.upload_id: str | None = None
        """Set by a push that gave up: the upload is still open under this id."""


class Unreachable(ClientError):
    """No answer came, or the connection broke in the middle of one."""

    code = "UNREACHABLE"
    retryable = True


class AnswerMalformed(ClientError):
    """The answer is not one of the blob API's: another server, or a proxy in between."""

    code = "ANSWER_MALFORMED"


class DigestWrong(ClientError):
    """The bytes received do not hash to the digest that was asked for."""

    code = "DIGEST_WRONG"

    def __init__(self, wanted: Digest, computed: Digest) -> None:
        super().__init__(f"the bytes received hash to {computed}, not to {wanted}")
        self.wanted = wanted
        self.computed = computed


class SourceSpent(ClientError):
    """The source has fewer bytes than the server needs, or has let go of them."""

    code = "SOURCE_SPENT"


class SourceChanged(SourceSpent):
    """The file is not what it was when the push began."""

    code = "SOURCE_CHANGED"


class Refused(ClientError):
    """The server answered with an error; code and message are the server's."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} ({self.status} {self.code})"


class NotFound(Refused):
    """No such blob, or no such open upload."""


class Denied(Refused):
    """Not allowed, and asking again will not help."""


class Misplaced(Refused):
    """A chunk did not start where the upload stands; `offset` is where it does."""

    retryable = True

    def __init__(self, status: int, code: str, message: str, *, offset: int) -> None:
        super().__init__(status, code, message)
        self.offset = offset


class Unavailable(Refused):
    """The server cannot do it now."""

    retryable = True


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """Return the error that an answer stands for; a body that is no error JSON is quoted."""
    code, message = _told(body)
    message = message or f"the server answered {status}"
    if status in _PASSING:
        return Unavailable(status, code, message, retry_after_s=_retry_after_s(headers))
    if status == 404:
        return NotFound(status, code, message)
    if status in (401, 403, 413):
        return Denied(status, code, message)
    return Refused(status, code, message)


def _told(body: bytes) -> tuple[str, str]:
    try:
        first = json.loads(body)["errors"][0]
        return str(first["code"]), str(first["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        return "UNKNOWN", body[:200].decode(errors="replace").strip()


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After; its date form is not used by blobd."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
