"""Byte ranges and validators of a download (RFC 9110 sections 13 and 14), decided before I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.digest import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes=(.*)", re.IGNORECASE)
_SPEC = re.compile(r"[ \t]*([0-9]*)-([0-9]*)[ \t]*")
_BEYOND = 1 << 63
"""A position past every blob's end, for numbers of more digits than any size has."""
_ETAGS = re.compile(r'(?:W/)?("[^"]*")')
MAX_RANGES = 1024
"""What containers/storage asks for at most in one request for a zstd:chunked layer."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Answer 200 with everything."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Answer 206 with these spans, in the order asked for."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Answer 416: no range of the request lies within the blob."""


@dataclass(frozen=True, slots=True)
class NotModified:
    """Answer 304: the client has it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Answer 412: the blob is not what the client's If-Match names."""


Decision = Whole | Partial | Unsatisfiable | NotModified | Failed


def decide(headers: Mapping[str, str], *, etag: str, size_bytes: int) -> Decision:
    """Return what a GET or HEAD with these headers is to be answered.

    `etag` is the quoted strong validator. A Range that is malformed, or of another unit, is
    ignored; so is one whose If-Range names another version. One that runs backwards is refused,
    which RFC 9110 section 14.2 leaves open and the OCI conformance suite insists on.

    Ranges are answered as they were asked for: in any order, adjacent and overlapping ones too.
    RFC 9110 sections 14.2 and 17.15 advise servers to defend themselves against many small or
    overlapping ranges. The defence is three bounds. The count: MAX_RANGES. The sum: never more
    bytes than the blob has. The cost of a piece: some 10 µs of CPU from a file, so that a head full
    of ranges costs less than as many bytes of heads for one range each; from an S3 engine one
    request at most, four at a time (`multipart.py`, figures in `bench/README.md`). Beyond a bound
    Range is ignored and all is sent: containers/image and other clients cut their pieces out of a
    200, and fail on a 416.
    """
    if_match = headers.get("If-Match")
    if if_match is not None and if_match.strip() != "*" and etag not in _strong(if_match):
        return Failed()
    if_none_match = headers.get("If-None-Match")
    if if_none_match is not None and (
        if_none_match.strip() == "*" or etag in _ETAGS.findall(if_none_match)
    ):
        return NotModified()
    asked = headers.get("Range")
    if asked is None or headers.get("If-Range", etag).strip() != etag:
        return Whole()
    return _ranges(asked, size_bytes)


def _strong(field: str) -> list[str]:
    return [tag.strip() for tag in field.split(",") if not tag.strip().startswith("W/")]


def _position(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) < 19 else _BEYOND


def _ranges(asked: str, size_bytes: int) -> Decision:
    match = _RANGE.fullmatch(asked.strip())
    if match is None:
        return Whole()
    spans = []
    specs = [spec for spec in match[1].split(",") if spec.strip()]
    if not 0 < len(specs) <= MAX_RANGES:
        return Whole()
    for spec in specs:
        parsed = _SPEC.fullmatch(spec)
        if parsed is None or not (parsed[1] or parsed[2]):
            return Whole()
        if parsed[1]:
            start = _position(parsed[1])
            stop = _position(parsed[2]) + 1 if parsed[2] else size_bytes
            if parsed[2] and stop <= start:
                return Unsatisfiable()
        else:
            last_bytes = _position(parsed[2])
            start, stop = max(size_bytes - last_bytes, 0), size_bytes
            if last_bytes == 0:
                start = size_bytes
        if start < size_bytes:
            spans.append(Span(start, min(stop, size_bytes)))
    if sum(span.size_bytes for span in spans) > size_bytes:
        return Whole()
    if spans:
        return Partial(tuple(spans))
    # An empty blob has no range to send, and no client fails for being sent all of it.
    return Unsatisfiable() if size_bytes else Whole()
