"""Failed logins, and how many of them a client address may have.

Each address has a bucket of failures that drains with time (a token bucket). The buckets are in
memory that all workers of a daemon share. Only what fails is counted, and only what fails is
refused: a credential is looked up first, so one that is right works at once, however many wrong
ones come from the same address. What keeps a guess from being right is the length of a secret
(190 random bits); what is limited here is the rate at which guessing gets an answer.

An IPv6 client usually has a /64 network of its own, so that network is counted as one address
(RFC 6177, section 2).

How the table lies in memory: sets of `_WAYS` entries, each of which is a hash of the address under
a key that is random at each start, and the time at which its bucket will be empty. An address has
its place in one set; a new one replaces the entry there that will be empty first. There is no
lock: of two failures of one address that are counted within the same microseconds, one may get
lost.
"""

from __future__ import annotations

import hashlib
import ipaddress
import mmap
import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from blobd.registry.errors import TooManyFailures

if TYPE_CHECKING:
    from collections.abc import Callable

BURST = 20
"""Failures in a row before an address has to wait."""
REGAIN_S = 3.0
"""How long it takes to earn one more."""
_SETS, _WAYS = 2048, 8
_WORD_BYTES = 8
_IPV6_CLIENT_BITS = 64


class Attempts:
    """Counts failed logins by address. Made before the workers are forked, and used by them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take memory for 16,384 addresses. `clock` must be the same in all workers."""
        self._clock = clock
        self._key = secrets.token_bytes(32)
        entries = _SETS * _WAYS
        memory = memoryview(mmap.mmap(-1, 2 * entries * _WORD_BYTES))
        self._names = memory[: entries * _WORD_BYTES].cast("Q")
        self._empty_at = memory[entries * _WORD_BYTES :].cast("d")
        """When the bucket of the address at the same index will have drained."""

    def failed(self, address: str) -> None:
        """Count a failure. Raises TooManyFailures, and counts nothing, where it is one too many.

        `address` is an IP address; any other text counts as an address of its own.
        """
        now = self._clock()
        name, index = self._find(address)
        known = self._names[index] == name
        empty_at = max(self._empty_at[index], now) if known else now
        wait_s = empty_at - now - (BURST - 1) * REGAIN_S
        if wait_s > 0:
            raise TooManyFailures(wait_s)
        self._names[index] = name
        self._empty_at[index] = empty_at + REGAIN_S

    def _find(self, address: str) -> tuple[int, int]:
        """Return an address's hash, and the index of its entry or of the one it may replace."""
        text = client_network(address).encode(errors="surrogateescape")
        digest = hashlib.blake2b(text, key=self._key, digest_size=2 * _WORD_BYTES).digest()
        name = int.from_bytes(digest[:_WORD_BYTES]) or 1  # 0: an entry that was never used
        first = int.from_bytes(digest[_WORD_BYTES:]) % _SETS * _WAYS
        indices = range(first, first + _WAYS)
        for index in indices:
            if self._names[index] == name:
                return name, index
        return name, min(indices, key=self._empty_at.__getitem__)


def account_of(address: str) -> str:
    """Return whose share of the limits requests from an address use while nobody is signed in."""
    return f"address:{client_network(address)}"


@lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """Return what a client can choose its address from: for IPv6 a /64, for IPv4 that address.

    Every request asks, most of them from few addresses: parsing takes 3 µs, for IPv6 10.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_CLIENT_BITS), strict=False))
