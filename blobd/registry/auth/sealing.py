"""Signing keys, encrypted: what a database holds of them is worth nothing without a secret.

A sealed key is AES-256-GCM: one byte 0x01, the nonce (12 bytes), and the ciphertext with its tag
(48 bytes). The key's `kid` is authenticated with it, so that a row cannot stand in for another.
The AES key is HKDF-SHA256 of the secret, which therefore must be random and not a password.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_MIN_CHARACTERS = 32
"""As `openssl rand -hex 16` prints at least."""
_CLEAR_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12


class Seal:
    """Encrypts private keys with one secret."""

    def __init__(self, secret: str) -> None:
        derive = HKDF(SHA256(), length=32, salt=None, info=b"blobd signing keys")
        self._cipher = AESGCM(derive.derive(secret.encode()))

    def close(self, kid: str, private: bytes) -> bytes:
        """Return a private key, sealed."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, private, kid.encode())

    def open(self, kid: str, sealed: bytes) -> bytes | None:
        """Return the private key; None where it was sealed with another secret, or damaged."""
        if sealed[:1] != _VERSION:
            return None
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            private: bytes = self._cipher.decrypt(nonce, ciphertext, kid.encode())
        except (InvalidTag, ValueError):
            return None
        return private


@dataclass(frozen=True, slots=True)
class Seals:
    """The secrets that a process knows: new keys are sealed with the first one."""

    current: Seal | None = None
    """None: keys are stored as they are."""
    former: tuple[Seal, ...] = ()
    is_own: bool = False
    """Whether `current` is a secret that blobd keeps itself, and may replace where it is lost."""

    def close(self, kid: str, private: bytes) -> bytes:
        """Return what is to be stored of a private key."""
        return private if self.current is None else self.current.close(kid, private)

    def open(self, kid: str, stored: bytes) -> bytes | None:
        """Return the private key of what is stored; None where no secret opens it."""
        if len(stored) == _CLEAR_BYTES:
            return stored
        known = self.former if self.current is None else (self.current, *self.former)
        for seal in known:
            private = seal.open(kid, stored)
            if private is not None:
                return private
        return None

    def is_current(self, kid: str, stored: bytes) -> bool:
        """Return whether a key is stored as `close` would store it now."""
        if self.current is None:
            return True
        return len(stored) != _CLEAR_BYTES and self.current.open(kid, stored) is not None
