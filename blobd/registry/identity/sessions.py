"""Sessions on pages: whom they speak for, and signing out of them.

A session is a signed statement that its browser keeps (`registry/http/visits.py`). Nothing is
stored of those that go on; one that was signed out of is written down until it would have
ended by itself, so that a copy of it is worth nothing, on any worker and replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.registry.auth.bearer import SESSION, Claims
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.catalog.sessions import end_session, forget_sessions, has_ended
from blobd.registry.errors import BearerInvalid

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.bearer import Keyring
    from blobd.registry.auth.subjects import Subject

SESSION_LIFETIME_S = 12 * 3600.0
_KEPT_S = 86_400.0
"""How long after its end a session is still known, for clocks that are set back."""


class Sessions:
    """One per process."""

    def __init__(self, catalog: Catalog, keyring: Keyring) -> None:
        self._catalog = catalog
        self._keyring = keyring

    async def begin(self, subject: Subject) -> str:
        """Return the statement by which a subject stays signed in."""
        now = self._catalog.now()
        claims = Claims(
            use=SESSION,
            account=subject.name,
            token_id=subject.token_id,
            covers=NamedScopes(()),
            issued_at=now,
            expires_at=now + SESSION_LIFETIME_S,
        )
        return await self._keyring.sign(claims)

    async def verify(self, statement: str) -> Claims:
        """Return what a session states. Raises BearerInvalid where it has ended, or is none."""
        claims = await self._keyring.verify(statement, use=SESSION)
        if await has_ended(self._catalog.reader, claims.serial):
            raise BearerInvalid("this session was signed out", expired=True)
        return claims

    async def end(self, statement: str) -> None:
        """End a session, for all who have it. Raises BearerInvalid where it is none."""
        claims = await self._keyring.verify(statement, use=SESSION)
        before = self._catalog.now() - _KEPT_S

        def end(transaction: Transaction) -> None:
            forget_sessions(transaction, before=before)
            end_session(transaction, claims.serial, expires_at=claims.expires_at)

        await self._catalog.write(end)
