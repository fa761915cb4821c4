"""Bytes by recipe: random to look at, the same every time, with a digest known beforehand."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cached_property, lru_cache

import blake3

_KIB = 1024
_MIB = 1024 * 1024


@lru_cache(maxsize=64)
def _cook(recipe: str, size_bytes: int) -> bytes:
    return random.Random(recipe).randbytes(size_bytes)


@dataclass(frozen=True)
class Content:
    """What one blob holds."""

    recipe: str
    size_bytes: int
    algorithm: str = "sha256"

    @property
    def data(self) -> bytes:
        return _cook(self.recipe, self.size_bytes)

    @cached_property
    def digest(self) -> str:
        return digest_of(self.data, self.algorithm)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    made = blake3.blake3(data) if algorithm == "blake3" else hashlib.new(algorithm, data)
    return f"{algorithm}:{made.hexdigest()}"


def some_content(choice: random.Random, recipe: str) -> Content:
    """Return a content of any size up to 16 MiB; half are small, as most blobs are not layers."""
    low, high = choice.choices(
        [(0, 0), (2, 64 * _KIB), (64 * _KIB, _MIB), (_MIB, 16 * _MIB)], [1, 40, 40, 20]
    )[0]
    algorithm = choice.choices(["sha256", "sha512", "blake3"], [10, 2, 1])[0]
    return Content(recipe, choice.randint(low, high), algorithm)
