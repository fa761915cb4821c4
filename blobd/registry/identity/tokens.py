"""Tokens: made, shown once, and kept as a hash."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.auth.secrets import PERSONAL, hash_of, hint_of, make_secret
from blobd.registry.catalog.tokens import NewToken, insert_token

if TYPE_CHECKING:
    from blobd.registry.catalog import Transaction

KIND = "personal"


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token and its secret, which nobody can find out again."""

    token_id: str
    secret: str
    expires_at: float | None


def write_personal_token(
    transaction: Transaction,
    account_id: int,
    *,
    scopes: tuple[str, ...],
    note: str,
    now: float,
    expires_at: float | None,
) -> MadeToken:
    """Write a new token of a person, and return it."""
    secret, token_id = make_secret(PERSONAL), secrets.token_hex(8)
    insert_token(
        transaction,
        NewToken(
            token_id=token_id,
            account_id=account_id,
            kind=KIND,
            source_id=None,
            secret_hash=hash_of(secret),
            hint=hint_of(secret),
            note=note,
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
        ),
    )
    return MadeToken(token_id, secret, expires_at)
