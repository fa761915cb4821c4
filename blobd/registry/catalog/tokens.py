"""Tokens, in SQL: hashes, never secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, or_, select, update

from blobd.registry.catalog.tables import accounts, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blobd.database.transaction import Transaction


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


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its owner may see it."""

    token_id: str
    owner: str
    kind: str
    hint: str
    note: str
    scopes: str
    """Separated by spaces."""
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


_TOKENS = select(
    tokens.c.id,
    accounts.c.name,
    tokens.c.kind,
    tokens.c.hint,
    tokens.c.note,
    tokens.c.scopes,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.revoked_at,
    tokens.c.last_used_at,
).join(accounts, accounts.c.id == tokens.c.account_id)
_USED = (
    update(tokens)
    .where(
        tokens.c.id == bindparam("used"),
        or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"))
)


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


def find_token(transaction: Transaction, token_id: str) -> Token | None:
    """Return a token."""
    row = transaction.execute(_TOKENS.where(tokens.c.id == token_id)).first()
    return None if row is None else Token(*tuple(row))


def list_tokens(transaction: Transaction, account_id: int, kind: str) -> list[Token]:
    """Return an account's tokens of a kind, the newest first."""
    query = _TOKENS.where(tokens.c.account_id == account_id, tokens.c.kind == kind)
    rows = transaction.execute(query.order_by(tokens.c.created_at.desc(), tokens.c.id))
    return [Token(*tuple(row)) for row in rows]


def revoke_token(transaction: Transaction, token_id: str, *, now: float) -> None:
    """End a token; one that was revoked before stays revoked since then.

    A request that acts with it at this moment has locked its account, and is waited for.
    """
    account = select(tokens.c.account_id).where(tokens.c.id == token_id).scalar_subquery()
    lock = select(accounts.c.id).where(accounts.c.id == account)
    transaction.execute(lock.with_for_update(key_share=True))
    change = update(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
    transaction.execute(change.values(revoked_at=now))


def note_uses(transaction: Transaction, used_at: Mapping[str, float]) -> None:
    """Note when tokens were used last, by their ids."""
    if used_at:
        transaction.execute(
            _USED, [{"used": token_id, "at": at} for token_id, at in sorted(used_at.items())]
        )


def delete_ended(transaction: Transaction, kind: str, *, before: float) -> int:
    """Remove tokens of a kind that expired before a time; return how many."""
    ended = delete(tokens).where(tokens.c.kind == kind, tokens.c.expires_at < before)
    return transaction.execute(ended).rowcount
