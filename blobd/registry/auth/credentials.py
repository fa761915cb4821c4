"""The Authorization header: what a client shows, before anybody asks whether it is true."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from blobd.http.errors import CredentialMalformed
from blobd.registry.auth.secrets import PERSONAL, WORKFLOW

_NO_TOKEN = "QQ=="  # noqa: S105 the letter A


@dataclass(frozen=True, slots=True)
class Password:
    """A user name and a secret, from Basic (RFC 7617) or a form."""

    user: str
    secret: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, from Bearer (RFC 6750)."""

    token: str


Credential = Password | Bearer | None


def parse_authorization(header: str | None) -> Credential:
    """Return what an Authorization header shows; None where it shows nobody.

    Nobody is also an empty user with an empty password (`Basic Og==`), which some clients send
    for an anonymous caller, and `Bearer QQ==`, which Homebrew does. Raises CredentialMalformed.
    """
    if header is None or not header.strip():
        return None
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "basic":
            return _basic(value)
        case "bearer" | "token":
            if not value:
                raise CredentialMalformed("the Authorization header holds no token")
            return None if value == _NO_TOKEN else Bearer(_decoded(value))
        case _:
            raise CredentialMalformed("Authorization must be Basic or Bearer")


def _decoded(value: str) -> str:
    """Return a bearer token, out of its base64 where it is a secret of this registry.

    GitHub's documentation and Homebrew send a personal token so, often with the newline of the
    shell's `echo` in it: `Bearer $(echo $TOKEN | base64)`.
    """
    try:
        text = base64.b64decode(value, validate=True).decode().strip()
    except ValueError:
        return value
    return text if text.startswith((PERSONAL, WORKFLOW)) else value


def _basic(value: str) -> Password | None:
    try:
        user, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:  # no base64, no ASCII, no UTF-8
        raise CredentialMalformed("Basic credentials are not base64 of user:password") from error
    if not colon:
        raise CredentialMalformed("Basic credentials are not base64 of user:password")
    return Password(user, secret) if user or secret else None
