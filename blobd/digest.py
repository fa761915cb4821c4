"""Digests and spans: the two values that name bytes. Parsing and printing only, no I/O.

Digest  algorithm and encoded hash, as the OCI image-spec writes them (descriptor.md, "Digests").
Span    a run of bytes, half-open inside blobd, inclusive on the wire (`0-99` is a hundred bytes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SUPPORTED_ALGORITHMS = ("sha256", "sha512", "blake3")

_GRAMMAR = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)")
_ENCODED = {
    "sha256": re.compile(r"[a-f0-9]{64}"),
    "sha512": re.compile(r"[a-f0-9]{128}"),
    "blake3": re.compile(r"[a-f0-9]{64}"),
}
_SPAN = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_MAX_DIGEST_CHARACTERS = 255


class MalformedDigest(ValueError):
    """The text is no digest by the image-spec's grammar, or not one its algorithm can print."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:140]!r} is not a digest such as sha256:<64 hex digits>")
        self.text = text


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm:encoded`. Equal digests name equal bytes; the order is the order of listings."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read a digest; unknown algorithms that fit the grammar pass (distribution-spec R13).

        Raises MalformedDigest.
        """
        match = _GRAMMAR.fullmatch(text) if len(text) <= _MAX_DIGEST_CHARACTERS else None
        if match is None:
            raise MalformedDigest(text)
        algorithm, encoded = match.groups()
        rule = _ENCODED.get(algorithm)
        if rule is not None and rule.fullmatch(encoded) is None:
            raise MalformedDigest(text)
        return cls(algorithm, encoded)

    @property
    def supported(self) -> bool:
        """Whether blobd can compute this algorithm, and so store a blob under this digest."""
        return self.algorithm in SUPPORTED_ALGORITHMS

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to, but not including, `stop`."""

    start: int
    stop: int

    @classmethod
    def parse(cls, text: str) -> Span:
        """Read the wire's inclusive `first-last`, as in a PATCH's Content-Range (R31).

        Raises ValueError when it is anything else, or runs backwards.
        """
        match = _SPAN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:60]!r} is not a byte range such as 0-99")
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise ValueError(f"the byte range {text!r} ends before it starts")
        return cls(first, last + 1)

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        """Print inclusively; nothing at all prints as `0-0`, which docker insists on."""
        return f"{self.start}-{max(self.stop - 1, self.start)}"
