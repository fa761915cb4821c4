"""What can go wrong on the way, and at which byte."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

_SOON_S = 60.0


@dataclass(frozen=True, slots=True)
class Reset:
    """Both connections end with a reset."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing moves until the fault is released; then all goes on."""


@dataclass(frozen=True, slots=True)
class Instead:
    """This is answered, whatever the server answers or would have; then the connection ends."""

    status: int
    body: bytes = b""
    fields: str = ""
    """More lines of the head, each with its end."""

    @property
    def raw(self) -> bytes:
        head = (
            f"HTTP/1.1 {self.status} Injected\r\nContent-Type: application/xml\r\n{self.fields}"
            f"Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + self.body


def s3_error(status: int, code: str, fields: str = "") -> Instead:
    """Return S3's way of saying no."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>injected</Message>"
        "<RequestId>0123456789ABCDEF</RequestId></Error>"
    )
    return Instead(status, body.encode(), fields)


SLOW_DOWN = s3_error(503, "SlowDown")
INTERNAL_ERROR = s3_error(500, "InternalError")
EXPIRED_TOKEN = s3_error(403, "ExpiredToken")
ERROR_WITHIN_200 = s3_error(200, "InternalError")
"""CompleteMultipartUpload may fail after it has begun to answer: S3 documents it so."""


@dataclass(slots=True)
class Fault:
    """What happens to the next requests of an operation, and where in them."""

    operation: str
    """As `operations.py` names it; `any` is each of them."""
    deed: Reset | Pause | Instead
    at_request_byte: int | None = None
    """After so many bytes of its body were passed on."""
    at_answer_byte: int | None = None
    """After so many bytes of the answer to it were: at 0 the server has done it, nobody knows."""
    times: int = 1
    """To how many requests."""
    skip: int = 0
    """How many requests go through before."""
    _met: threading.Event = field(default_factory=threading.Event, init=False)
    _released: threading.Event = field(default_factory=threading.Event, init=False)

    @property
    def is_at_once(self) -> bool:
        """Whether it happens before anything was passed on."""
        return self.at_request_byte is None and self.at_answer_byte is None

    def takes(self, operation: str) -> bool:
        """Return whether a request meets it, and count that."""
        if self.operation not in ("any", operation) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True

    def meet(self) -> None:
        self._met.set()

    def is_over(self) -> bool:
        return self._released.is_set()

    def wait(self) -> None:
        """Wait until it has happened to somebody. Blocks."""
        assert self._met.wait(_SOON_S), f"nobody has met {self}"

    def release(self) -> None:
        """Let a pause end, and be none for those who come later."""
        self.times = 0
        self._released.set()
