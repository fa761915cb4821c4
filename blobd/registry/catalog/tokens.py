"""Tokens, in SQL: hashes, never secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert

from blobd.registry.catalog.tables import tokens

if TYPE_CHECKING:
    from blobd.registry.catalog.transaction import Transaction


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be written."""

    token_id: str
    account_id: int
    kind: str
    source_id: int | None
    secret_hash: str
    hint: str
    note: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None


def insert_token(transaction: Transaction, token: NewToken) -> None:
    """Write a token."""
    row = {
        "id": token.token_id,
        "account_id": token.account_id,
        "kind": token.kind,
        "source_id": token.source_id,
        "secret_hash": token.secret_hash,
        "hint": token.hint,
        "note": token.note,
        "scopes": " ".join(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }
    transaction.execute(insert(tokens), row)
