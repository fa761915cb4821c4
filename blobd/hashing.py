"""Incremental digests whose state can be saved and restored in the middle of a block.

hashlib cannot save a half-done hash. OpenSSL's older API, `SHA256_Init/Update/Final`
and `SHA512_*`, works on a plain struct that can be copied as bytes; it is reached through the
library that `_hashlib` itself has loaded, runs at hashlib's speed, and without the GIL. Where
that fails its self-test, and for blake3, a hasher has no state: continuing an upload then
reads the staged bytes again.

A hasher belongs to one task at a time; `update` may run on any thread.
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import TYPE_CHECKING, Protocol

import blake3

from blobd.digest import SUPPORTED_ALGORITHMS, Digest
from blobd.errors import DigestUnsupported

if TYPE_CHECKING:
    from collections.abc import Callable


class Hasher(Protocol):
    """A digest in the making."""

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes; they may be reused afterwards."""
        ...

    def digest(self) -> Digest:
        """Return the digest of all bytes so far; more may follow."""
        ...

    def save(self) -> bytes | None:
        """Return a state that `restore` takes in any process; None where there is none."""
        ...


class _Family:
    """One algorithm of OpenSSL's struct API: sizes from <openssl/sha.h>, unchanged since 0.9.8."""

    __slots__ = ("algorithm", "digest_bytes", "final", "init", "state_bytes", "update")

    def __init__(
        self, library: ctypes.CDLL, algorithm: str, state_bytes: int, digest_bytes: int
    ) -> None:
        def function(name: str, *arguments: type) -> Callable[..., int]:
            found = getattr(library, f"{algorithm.upper()}_{name}")
            found.argtypes = arguments
            found.restype = ctypes.c_int
            return found  # type: ignore[no-any-return]

        self.algorithm = algorithm
        self.state_bytes = state_bytes
        self.digest_bytes = digest_bytes
        self.init = function("Init", ctypes.c_void_p)
        self.update = function("Update", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self.final = function("Final", ctypes.c_void_p, ctypes.c_void_p)


class _StateHasher:
    """SHA-2 on a plain struct."""

    __slots__ = ("_family", "_state")

    def __init__(self, family: _Family, state: bytes | None = None) -> None:
        self._family = family
        self._state = ctypes.create_string_buffer(family.state_bytes)
        if state is None:
            family.init(self._state)
        elif len(state) == family.state_bytes:
            ctypes.memmove(self._state, state, family.state_bytes)
        else:
            raise ValueError(f"a {family.algorithm} state has {family.state_bytes} bytes")

    def update(self, data: bytes | memoryview) -> None:
        if isinstance(data, memoryview):
            if data.readonly:
                data = bytes(data)
            else:
                window = ctypes.c_char.from_buffer(data) if len(data) else None
                address = ctypes.addressof(window) if window is not None else 0
                self._family.update(self._state, address, len(data))
                return
        self._family.update(self._state, data, len(data))

    def digest(self) -> Digest:
        family = self._family
        state = ctypes.create_string_buffer(self._state.raw, family.state_bytes)
        out = ctypes.create_string_buffer(family.digest_bytes)
        family.final(out, state)
        return Digest(family.algorithm, out.raw.hex())

    def save(self) -> bytes | None:
        return self._state.raw


class _PlainHasher:
    """Any algorithm with `update` and `hexdigest`, and no state to save."""

    __slots__ = ("_algorithm", "_hash")

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = blake3.blake3() if algorithm == "blake3" else hashlib.new(algorithm)

    def update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)

    def digest(self) -> Digest:
        return Digest(self._algorithm, self._hash.hexdigest())

    def save(self) -> bytes | None:
        return None


EMPTY_DIGESTS = frozenset(_PlainHasher(algorithm).digest() for algorithm in SUPPORTED_ALGORITHMS)
"""What no bytes at all hash to, by each algorithm."""


class Hashing:
    """Makes hashers. One instance per process, made and self-tested at start."""

    def __init__(self, *, saved_states: bool = True) -> None:
        """`saved_states=False` takes the re-read path throughout, as on an odd OpenSSL."""
        self._families = _families() if saved_states else {}

    def new(self, algorithm: str) -> Hasher:
        """Return a fresh hasher. Raises DigestUnsupported."""
        if algorithm not in SUPPORTED_ALGORITHMS:
            raise DigestUnsupported(algorithm)
        family = self._families.get(algorithm)
        return _StateHasher(family) if family is not None else _PlainHasher(algorithm)

    def restore(self, algorithm: str, state: bytes | None) -> Hasher | None:
        """Return a hasher that goes on from a saved state; None where it cannot."""
        family = self._families.get(algorithm)
        if family is None or state is None or len(state) != family.state_bytes:
            return None
        return _StateHasher(family, state)

    @property
    def resumable(self) -> frozenset[str]:
        """The algorithms whose state can be saved on this machine."""
        return frozenset(self._families)


def _families() -> dict[str, _Family]:
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        families = [_Family(library, "sha256", 112, 32), _Family(library, "sha512", 216, 64)]
    except (ImportError, OSError, AttributeError):
        return {}
    return {family.algorithm: family for family in families if _self_test(family)}


def _self_test(family: _Family) -> bool:
    """Hash, save mid-block, restore, go on: the result must be hashlib's."""
    data = bytes(range(256)) * 5
    for cut in (0, 1, 63, 64, 127, 129, 1000):
        first = _StateHasher(family)
        first.update(data[:cut])
        second = _StateHasher(family, first.save())
        second.update(memoryview(bytearray(data[cut:])))
        if second.digest().encoded != hashlib.new(family.algorithm, data).hexdigest():
            return False
    return True
