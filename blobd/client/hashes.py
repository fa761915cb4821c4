"""Hashing on the client's side."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import blake3

from blobd.digest import SUPPORTED_ALGORITHMS, Digest
from blobd.errors import DigestUnsupported

if TYPE_CHECKING:
    from collections.abc import Callable


class _Algorithm(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


class Hash:
    """A digest in the making, over bytes taken in order."""

    def __init__(self, algorithm: str) -> None:
        """Raise DigestUnsupported for an algorithm that is none of blobd's."""
        if algorithm not in SUPPORTED_ALGORITHMS:
            raise DigestUnsupported(algorithm)
        self._algorithm = algorithm
        new: Callable[[], _Algorithm] = (
            blake3.blake3 if algorithm == "blake3" else getattr(hashlib, algorithm)
        )
        self._hash = new()
        self.hashed_bytes = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes. May run on any thread, one at a time."""
        self._hash.update(data)
        self.hashed_bytes += len(data)

    def update_at(self, at: int, data: bytes) -> None:
        """Take those bytes of a piece at `at` that come next; the rest was, or will be, taken."""
        if at <= self.hashed_bytes < at + len(data):
            self.update(data[self.hashed_bytes - at :])

    def digest(self) -> Digest:
        """Return the digest of all bytes taken."""
        return Digest(self._algorithm, self._hash.hexdigest())
