"""What goes wrong between a client and a front, whichever front it is.

HTTP's own failures: heads, bodies' framing, parameters, credentials. `answers.py` has what each is
answered with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import BlobdError

if TYPE_CHECKING:
    from collections.abc import Sequence


class RangeMalformed(BlobdError):
    """A Content-Range that cannot be read; answered like one that does not fit."""


class DigestMissing(BlobdError):
    """An upload is to be closed without saying as what."""

    def __init__(self) -> None:
        super().__init__("the query parameter digest=<algorithm>:<hex> is missing")


class RequestInvalid(BlobdError):
    """A header or a query parameter that cannot be understood."""


class MediaTypeUnsupported(BlobdError):
    """A body of a type that is not taken here."""

    def __init__(self, got: str | None, wanted: str) -> None:
        super().__init__(
            f"the body must be {wanted} and its Content-Type must say so; it says "
            f"{'nothing' if got is None else repr(got[:100])}"
        )
        self.wanted = wanted


class CrossSite(BlobdError):
    """Another site made a browser send this."""

    def __init__(self, sign: str) -> None:
        super().__init__(
            f"a page of another site sent this ({sign}); send it from a page of this address, or "
            "by a client that is no browser"
        )
        self.sign = sign


class TooManyConnections(BlobdError):
    """As many connections as this process can have are busy."""

    retryable = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} connections are busy here, as many as can be; try again")
        self.limit = limit


class PageInvalid(BlobdError):
    """A paging parameter (`n`, `limit`) that is not a whole number of zero or more."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is not a number of results")


class RouteUnknown(BlobdError):
    """No such path."""


class MethodUnsupported(BlobdError):
    """The path exists, but not with this method."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method} is not supported here; allowed: {', '.join(allowed)}")
        self.allowed = tuple(allowed)


class Unauthenticated(BlobdError):
    """The request carries no credential that is known here, or not the one it needs."""

    scope = ""
    """What a bearer token has to be asked for, where that is known."""
    problem = "invalid_token"
    """What is wrong with the credential shown, by the words of RFC 6750; empty: none was shown."""
    challenge = "Bearer"
    """What the answer's WWW-Authenticate says; a front that knows more says more."""


class CredentialMalformed(Unauthenticated):
    """An Authorization header that cannot be read."""


class HeadTooSlow(BlobdError):
    """A request head was not complete in time."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the request head was not complete within {limit_s:g} s")
        self.limit_s = limit_s


class BodyTooSlow(BlobdError):
    """A form or a document, which is held in memory whole, takes too long to arrive."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the body did not arrive within {limit_s:g} s")
        self.limit_s = limit_s


class HeadMalformed(BlobdError):
    """A request head that is not HTTP/1.1. Its bytes are never quoted: credentials are in heads."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            "the request head is not well-formed HTTP/1.1" + (f": {reason}" if reason else "")
        )


class HeadTooLarge(BlobdError):
    """A request head, without its first line, that is over a limit."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the request head is larger than {limit}; send fewer or shorter headers")
        self.limit = limit


class TargetTooLong(BlobdError):
    """A request line that is over its limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request line is longer than {limit_bytes} bytes; shorten the URL")
        self.limit_bytes = limit_bytes


class ExpectationUnsupported(BlobdError):
    """An Expect header that asks for something else than 100-continue."""

    def __init__(self) -> None:
        super().__init__("an expectation cannot be met: Expect may only hold 100-continue")


class TlsOnPlainPort(BlobdError):
    """A client began with a TLS ClientHello where plain HTTP is spoken."""

    def __init__(self) -> None:
        super().__init__(
            "this port speaks plain HTTP, not TLS: use http://, or a proxy that ends TLS before it"
        )
