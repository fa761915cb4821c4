"""Bearer tokens: short signed statements of who asked, and for what.

A token is a JWT signed with Ed25519 (RFC 8037). It says whose it is and which personal access
token stands behind it, so that a revocation counts at the next request, and what its holder asked
for. It does not say what its holder may do: that is decided anew at each request.

Keys are known by `kid`. The newest signs; older ones verify for as long as anything they signed
may live. A worker that meets a `kid` it does not know looks at the catalog again, at most once a
second, so that a rotation by another process needs no restart.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from blobd.registry.auth.coverage import HashedScopes, NamedScopes
from blobd.registry.auth.scopes import Scope
from blobd.registry.errors import BearerInvalid, TooManyScopes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from blobd.registry.auth.coverage import Coverage

_ALGORITHM = "EdDSA"
_ISSUER = "blobd"
_LEEWAY_S = 5
_SKEW_S = 60
"""How far ahead the clock of the replica that issued a token may be (RFC 7519, section 4.1.5)."""
_KNOWN_MAX = 4096
_RELOAD_S = 1.0
_FRESH_S = 60.0
_NAMED_MAX_CHARACTERS = 4000
"""Of a token that names its scopes in full; longer ones hold their hashes."""
_MAX_CHARACTERS = 8000
"""Of any token: with `Authorization: Bearer ` before it, a line of less than 8 KiB."""

ACCESS, REFRESH, SESSION = "access", "refresh", "session"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair."""

    kid: str
    private: bytes
    """The 32 bytes of the private key."""
    created_at: float

    @classmethod
    def make(cls, *, now: float) -> SigningKey:
        """Return a new key."""
        private = Ed25519PrivateKey.generate().private_bytes_raw()
        return cls(secrets.token_hex(8), private, now)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a bearer token states."""

    use: str
    """ACCESS for the registry, REFRESH for the token endpoint alone, SESSION for pages alone."""
    account: str
    """The name of who asked; empty for anonymous."""
    token_id: str
    """The personal access token behind it; empty for anonymous."""
    covers: Coverage
    """What was granted of what was asked for."""
    issued_at: float
    """Also from when on it counts."""
    expires_at: float
    serial: str = field(default="", compare=False)
    """Its unique id (RFC 7519, section 4.1.7); assigned when it is signed."""


class Keyring:
    """Signs and verifies. One per process."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Sequence[SigningKey]]],
        *,
        audience: str,
        clock: Callable[[], float],
    ) -> None:
        """`load` returns the keys that are in use, from wherever all processes find them."""
        self._load = load
        self._audience = audience
        self._clock = clock
        self._keys: dict[str, tuple[SigningKey, Ed25519PrivateKey]] = {}
        self._loaded_at = 0.0
        self._known: OrderedDict[bytes, Claims] = OrderedDict()

    async def sign(self, claims: Claims) -> str:
        """Return a token that states the claims, signed with the newest key.

        Its line in a request's head is shorter than 8 KiB. Raises TooManyScopes.
        """
        if not self._keys or self._clock() - self._loaded_at > _FRESH_S:
            await self._reload()
        key, private = max(self._keys.values(), key=lambda pair: pair[0].created_at)
        serial = secrets.token_urlsafe(12)
        payload: dict[str, Any] = {
            "iss": _ISSUER,
            "aud": self._audience,
            "sub": claims.account,
            "iat": int(claims.issued_at),
            "nbf": int(claims.issued_at),
            "exp": int(claims.expires_at),
            "jti": serial,
            "use": claims.use,
            "pat": claims.token_id,
        }

        def encoded(**scopes: object) -> str:
            headers = {"kid": key.kid}
            return jwt.encode(payload | scopes, private, algorithm=_ALGORITHM, headers=headers)

        assert isinstance(claims.covers, NamedScopes), "hashes are of one token"  # noqa: S101
        scopes = claims.covers.scopes
        token = encoded(access=[_entry(scope) for scope in scopes])
        if len(token) > _NAMED_MAX_CHARACTERS:
            token = encoded(hashed_access=HashedScopes.of(scopes, key=serial).claim())
        if len(token) > _MAX_CHARACTERS:
            raise TooManyScopes(len(scopes), len(scopes) * _MAX_CHARACTERS // len(token))
        return token

    async def verify(self, token: str, *, use: str) -> Claims:
        """Return what a token states. Raises BearerInvalid, saying why."""
        if len(token) > _MAX_CHARACTERS:
            raise BearerInvalid("the bearer token is longer than any that this registry signs")
        known = hashlib.sha256(token.encode(errors="surrogateescape")).digest()  # less to keep
        claims = self._known.get(known)
        if claims is None:
            claims = await self._read(token)
            self._known[known] = claims
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        if claims.expires_at + _LEEWAY_S < self._clock():
            self._known.pop(known, None)
            raise BearerInvalid("the bearer token has expired; log in again", expired=True)
        ahead_s = claims.issued_at - self._clock()
        if ahead_s > _SKEW_S:
            raise BearerInvalid(
                f"the bearer token does not count yet: it was issued for {ahead_s:.0f} s from now; "
                "set the clocks of this registry's machines, and log in again",
                early=True,
            )
        if claims.use != use:
            raise BearerInvalid(f"the bearer token is for {claims.use}, not for {use}")
        return claims

    async def derived(self, purpose: bytes) -> tuple[bytes, ...]:
        """Return a secret for a purpose of each key in use, the newest first."""
        if not self._keys or self._clock() - self._loaded_at > _FRESH_S:
            await self._reload()
        keys = sorted((key for key, _ in self._keys.values()), key=lambda key: -key.created_at)
        return tuple(hmac.digest(key.private, purpose, "sha256") for key in keys)

    async def _read(self, token: str) -> Claims:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError as error:
            raise BearerInvalid("the bearer token is not one of this registry") from error
        key = await self._find(kid)
        if key is None:
            raise BearerInvalid("the bearer token is signed with a key that is not in use")
        try:
            payload = jwt.decode(
                token,
                key.public_key(),
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=_ISSUER,
                # times are compared by `verify`, against the clock that everything else uses
                options={
                    "require": ["exp", "iat", "nbf", "sub", "aud", "iss"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            return _claims(payload)
        except jwt.InvalidAudienceError as error:
            raise BearerInvalid("the bearer token is for another service") from error
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise BearerInvalid("the bearer token's signature or content is wrong") from error

    async def _find(self, kid: object) -> Ed25519PrivateKey | None:
        if not isinstance(kid, str):
            return None
        if kid not in self._keys and self._clock() - self._loaded_at > _RELOAD_S:
            await self._reload()
        found = self._keys.get(kid)
        return None if found is None else found[1]

    async def _reload(self) -> None:
        self._loaded_at = self._clock()
        self._keys = {
            key.kid: (key, Ed25519PrivateKey.from_private_bytes(key.private))
            for key in await self._load()
        }
        # tokens of a key that was removed are not valid
        self._known.clear()


def _entry(scope: Scope) -> dict[str, object]:
    return {"type": scope.kind, "name": scope.name, "actions": sorted(scope.actions)}


def _covers(payload: dict[str, Any]) -> Coverage:
    if "hashed_access" in payload:
        return HashedScopes.of_claim(payload["hashed_access"], key=str(payload["jti"]))
    return NamedScopes(
        tuple(
            Scope(str(entry["type"]), str(entry["name"]), frozenset(map(str, entry["actions"])))
            for entry in payload["access"]
        )
    )


def _claims(payload: dict[str, Any]) -> Claims:
    return Claims(
        use=str(payload["use"]),
        account=str(payload["sub"]),
        token_id=str(payload["pat"]),
        covers=_covers(payload),
        issued_at=max(float(payload["iat"]), float(payload["nbf"])),
        expires_at=float(payload["exp"]),
        serial=str(payload.get("jti", "")),
    )
