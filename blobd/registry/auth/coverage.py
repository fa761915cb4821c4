"""What a bearer token covers, in a form that fits into one header line.

nginx, Apache and others refuse header lines over 8 KiB by default. So a token names its scopes in
full, as distribution's tokens do, while they are few. Beyond that it holds 32 bits of a hash of
each, keyed by the token's own id. A repository that was not asked for passes for one that was with
a probability of at most 1,000 in 2^32, different ones in each token. That widens nothing but what
the client gave up by itself: what its account may do is decided anew at each request.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blobd.registry.auth.scopes import Scope

_HASH_BYTES = 4


@dataclass(frozen=True, slots=True)
class NamedScopes:
    """Scopes in full."""

    scopes: tuple[Scope, ...]

    def actions(self, kind: str, name: str) -> frozenset[str]:
        """Return the actions covered on a resource."""
        of_it = (scope for scope in self.scopes if (scope.kind, scope.name) == (kind, name))
        return frozenset().union(*(scope.actions for scope in of_it))


@dataclass(frozen=True, slots=True)
class HashedScopes:
    """Scopes as sorted hashes, apart by their actions."""

    key: str
    hashes: Mapping[frozenset[str], bytes]

    @classmethod
    def of(cls, scopes: Iterable[Scope], *, key: str) -> HashedScopes:
        """Return the hashes of scopes; `key` must be the token's own."""
        sets: dict[frozenset[str], set[bytes]] = {}
        for scope in scopes:
            sets.setdefault(scope.actions, set()).add(_hash(key, scope.kind, scope.name))
        return cls(key, {actions: b"".join(sorted(found)) for actions, found in sets.items()})

    def actions(self, kind: str, name: str) -> frozenset[str]:
        """Return the actions covered on a resource."""
        wanted = _hash(self.key, kind, name)
        found = (actions for actions, hashes in self.hashes.items() if _holds(hashes, wanted))
        return frozenset().union(*found)

    def claim(self) -> dict[str, str]:
        """Return the form in which a token holds them: actions, and hashes in base64url."""
        return {
            ",".join(sorted(actions)): urlsafe_b64encode(hashes).rstrip(b"=").decode()
            for actions, hashes in self.hashes.items()
        }

    @classmethod
    def of_claim(cls, claim: Mapping[str, str], *, key: str) -> HashedScopes:
        """Return what `claim` made. Raises ValueError."""
        return cls(
            key,
            {
                frozenset(actions.split(",")): urlsafe_b64decode(text + "=" * (-len(text) % 4))
                for actions, text in claim.items()
            },
        )


Coverage = NamedScopes | HashedScopes


def _hash(key: str, kind: str, name: str) -> bytes:
    text = f"{kind}:{name}".encode()
    return hashlib.blake2b(text, digest_size=_HASH_BYTES, key=key.encode()).digest()


def _holds(hashes: bytes, wanted: bytes) -> bool:
    def at(number: int) -> bytes:
        return hashes[number * _HASH_BYTES : (number + 1) * _HASH_BYTES]

    count = len(hashes) // _HASH_BYTES
    place = bisect_left(range(count), wanted, key=at)
    return place < count and at(place) == wanted
