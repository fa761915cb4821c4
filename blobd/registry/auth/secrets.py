"""The secrets of tokens: generated, recognised, and stored as a hash alone.

A secret is a prefix that says what it is, 32 random base62 characters (190 bits), and 6 characters
of a CRC-32 over both: so a scanner that finds one in a log or a repository can distinguish a leak
from a coincidence without asking the registry. With so much randomness a plain SHA-256 is enough to
keep.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

PERSONAL, WORKFLOW = "blobd_pat_", "blobd_wft_"
"""How the secrets of people's and of workflows' tokens begin."""
HINT_CHARACTERS = len(PERSONAL) + 4

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 32
_CHECKSUM_CHARACTERS = 6


def make_secret(prefix: str) -> str:
    """Return a new secret of a kind."""
    body = prefix + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_CHARACTERS))
    return body + _checksum(body)


def is_secret(text: str) -> bool:
    """Return whether a text is what `make_secret` could have returned."""
    body, checksum = text[:-_CHECKSUM_CHARACTERS], text[-_CHECKSUM_CHARACTERS:]
    random = body[len(PERSONAL) :]
    return (
        body.startswith((PERSONAL, WORKFLOW))
        and len(random) == _RANDOM_CHARACTERS
        and set(random) <= set(_BASE62)
        and _checksum(body) == checksum
    )


def hash_of(secret: str) -> str:
    """Return what a catalog keeps of a secret: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def hint_of(secret: str) -> str:
    """Return the first characters, by which its owner knows a token again."""
    return secret[:HINT_CHARACTERS]


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
