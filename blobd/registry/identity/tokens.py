"""Tokens: made, shown once, and kept as a hash; of people, and of workflows."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import Refused
from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import SCOPES
from blobd.registry.auth.secrets import PERSONAL, WORKFLOW, hash_of, hint_of, make_secret
from blobd.registry.catalog import tokens
from blobd.registry.catalog.accounts import USER
from blobd.registry.catalog.tokens import NewToken
from blobd.registry.errors import NotFound
from blobd.registry.identity.accounts import known
from blobd.registry.identity.sources import known_source

if TYPE_CHECKING:
    from collections.abc import Collection

    from blobd.database import Catalog, Transaction
    from blobd.registry.catalog.tokens import Token

PERSONAL_KIND = "personal"
AUTOMATION, ENVIRONMENT = "automation", "environment"
WORKFLOW_KINDS = (AUTOMATION, ENVIRONMENT)
WORKFLOW_LIFETIME_S = 3600.0
WORKFLOW_LIFETIME_MAX_S = 86_400.0
PERSONAL_LIFETIME_MAX_S = 10 * 365 * 86_400.0
"""Of a token that expires at all."""
NOTE_MAX_CHARACTERS = 255

_WORKFLOW_SCOPES = SCOPES
"""The role that was granted says how far they reach."""
_ID_BYTES = 8
_ID = re.compile(rf"[0-9a-f]{{{2 * _ID_BYTES}}}")
_NOT_IN_NOTES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""By general category: a note is one line on a terminal, and text to every database."""
_KEPT_S = 30 * 86_400.0
"""How long an expired workflow token is kept, to report it as expired and not as unknown."""


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token and its secret, which nobody can find out again."""

    token_id: str
    secret: str
    expires_at: float | None


async def create_token(
    catalog: Catalog,
    user: str,
    *,
    scopes: Collection[str],
    note: str = "",
    lifetime_s: float | None = None,
) -> MadeToken:
    """Make a personal access token; None: it does not expire.

    Raises NotFound, RequestInvalid.
    """
    wrong = set(scopes) - set(SCOPES)
    if wrong or not scopes:
        raise RequestInvalid(f"a token's scopes are some of {', '.join(SCOPES)}, not {wrong or {}}")
    if len(note) > NOTE_MAX_CHARACTERS:
        raise RequestInvalid(f"a token's note has at most {NOTE_MAX_CHARACTERS} characters")
    if any(unicodedata.category(character) in _NOT_IN_NOTES for character in note):
        raise RequestInvalid("a token's note is one line of text, without control characters")
    if lifetime_s is not None and not 0 < lifetime_s <= PERSONAL_LIFETIME_MAX_S:
        raise RequestInvalid("a token that expires does so within ten years")
    now = catalog.now()

    def create(transaction: Transaction) -> MadeToken:
        return write_personal_token(
            transaction,
            known(transaction, USER, user).account_id,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            note=note,
            now=now,
            expires_at=None if lifetime_s is None else now + lifetime_s,
        )

    return await catalog.write(create)


async def list_tokens(catalog: Catalog, user: str) -> list[Token]:
    """Return a user's personal access tokens, the newest first. Raises NotFound."""

    def find(transaction: Transaction) -> list[Token]:
        account_id = known(transaction, USER, user).account_id
        return tokens.list_tokens(transaction, account_id, PERSONAL_KIND)

    return await catalog.read(find)


async def revoke_token(catalog: Catalog, token_id: str, *, owner: str | None = None) -> None:
    """End a token, of this owner alone if one is given; it counts no longer from now.

    Raises NotFound.
    """
    now = catalog.now()

    def revoke(transaction: Transaction) -> None:
        found = tokens.find_token(transaction, token_id) if _ID.fullmatch(token_id) else None
        if found is None or owner not in (None, found.owner):
            raise NotFound("token", token_id)
        tokens.revoke_token(transaction, token_id, now=now)

    await catalog.write(revoke)


async def issue_workflow_token(
    catalog: Catalog,
    source: str,
    kind: str,
    *,
    voucher: str,
    lifetime_s: float = WORKFLOW_LIFETIME_S,
) -> MadeToken:
    """Make a token for a workflow of a source repository (OWNER/NAME).

    It can do what that repository was granted, and nothing that its voucher, a user, could; it
    ends with that user all the same. Raises NotFound, RequestInvalid, Refused.
    """
    if kind not in WORKFLOW_KINDS:
        raise RequestInvalid(f"a workflow's kind is one of {', '.join(WORKFLOW_KINDS)}")
    if not 0 < lifetime_s <= WORKFLOW_LIFETIME_MAX_S:
        raise Refused(f"a workflow's token lives at most {WORKFLOW_LIFETIME_MAX_S:.0f} s")
    now = catalog.now()

    def issue(transaction: Transaction) -> MadeToken:
        tokens.delete_ended(transaction, kind, before=now - _KEPT_S)
        return _write(
            transaction,
            known(transaction, USER, voucher).account_id,
            kind=kind,
            source_id=known_source(transaction, source).source_id,
            scopes=_WORKFLOW_SCOPES,
            note=source,
            now=now,
            expires_at=now + lifetime_s,
        )

    return await catalog.write(issue)


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
    return _write(
        transaction,
        account_id,
        kind=PERSONAL_KIND,
        source_id=None,
        scopes=scopes,
        note=note,
        now=now,
        expires_at=expires_at,
    )


def _write(
    transaction: Transaction,
    account_id: int,
    *,
    kind: str,
    source_id: int | None,
    scopes: tuple[str, ...],
    note: str,
    now: float,
    expires_at: float | None,
) -> MadeToken:
    secret = make_secret(PERSONAL if source_id is None else WORKFLOW)
    token_id = secrets.token_hex(_ID_BYTES)
    tokens.insert_token(
        transaction,
        NewToken(
            token_id=token_id,
            account_id=account_id,
            kind=kind,
            source_id=source_id,
            secret_hash=hash_of(secret),
            hint=hint_of(secret),
            note=note,
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
        ),
    )
    return MadeToken(token_id, secret, expires_at)
