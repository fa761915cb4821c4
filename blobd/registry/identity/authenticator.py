"""From the credential that a request shows to the subject it speaks for.

Whatever counts is read at the time of the request: a token that was revoked, has expired, or whose
owner is shut out, speaks for nobody from that moment. A wrong credential is never taken for none.
A credential is looked up before failures are counted: one that is right is never refused because
of wrong ones from the same address.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blobd.registry.auth.bearer import ACCESS, REFRESH
from blobd.registry.auth.credentials import Bearer, Password, parse_authorization
from blobd.registry.auth.subjects import ANONYMOUS, Subject, WorkflowOf
from blobd.registry.catalog.auth_queries import AuthQueries
from blobd.registry.errors import BearerInvalid, TokenRefused

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.http.errors import Unauthenticated
    from blobd.registry.auth.attempts import Attempts
    from blobd.registry.auth.bearer import Claims, Keyring
    from blobd.registry.auth.coverage import Coverage
    from blobd.registry.catalog.auth_queries import TokenFacts

_SECRETS = "blobd_"
"""How every token that is no bearer token begins."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller."""

    subject: Subject
    asked: Coverage | None = None
    """What the bearer token was granted for; None where the credential itself was shown."""
    expires_at: float | None = None
    """Until when the credential counts at most."""

    def asked_on(self, repository: str) -> frozenset[str] | None:
        """Return the actions that the bearer token covers on a repository."""
        if self.asked is None:
            return None
        return self.asked.actions("repository", repository)


class Authenticator:
    """Authenticates requests. One per process."""

    def __init__(self, catalog: Catalog, keyring: Keyring, attempts: Attempts) -> None:
        self._catalog = catalog
        self._callers = AuthQueries(catalog.reader)
        self._keyring = keyring
        self._attempts = attempts

    async def caller(self, authorization: str | None, address: str) -> Caller:
        """Return who an Authorization header speaks for; `address` is where it comes from.

        Raises CredentialMalformed, TokenRefused, BearerInvalid, TooManyFailures.
        """
        credential = parse_authorization(authorization)
        match credential:
            case None:
                return Caller(ANONYMOUS)
            case Password(secret=secret):
                return await self.by_secret(secret, address)
            case Bearer(token=token) if token.startswith(_SECRETS):
                return await self.by_secret(token, address)
            case Bearer(token=token):
                claims = await self._verified(token, ACCESS, address)
                subject = await self.by_claims(claims)
                return Caller(subject, claims.covers, claims.expires_at)

    async def by_secret(self, secret: str, address: str) -> Caller:
        """Return who a token's secret speaks for. Raises TokenRefused, TooManyFailures.

        A newline at its end, as files and `echo` have one, is no part of it.
        """
        secret = secret.rstrip("\r\n")
        digest = hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
        facts = await self._callers.token_by_hash(digest)
        if facts is None:
            self._attempts.failed(address)
            raise TokenRefused(
                "the password", "is not a token of this registry; tokens begin with blobd_pat_"
            )
        return Caller(self._subject(facts), expires_at=facts.expires_at)

    async def by_refresh_token(self, token: str, address: str) -> Subject:
        """Return whom a refresh token speaks for now.

        Raises BearerInvalid, TokenRefused, TooManyFailures.
        """
        return await self.by_claims(await self._verified(token, REFRESH, address))

    async def by_claims(self, claims: Claims) -> Subject:
        """Return whom a verified bearer token speaks for now. Raises TokenRefused."""
        if not claims.token_id:
            return ANONYMOUS
        return await self.by_token_id(claims.token_id)

    async def by_token_id(self, token_id: str, *, may_have_expired: bool = False) -> Subject:
        """Return whom a token speaks for now. Raises TokenRefused."""
        facts = await self._callers.token_by_id(token_id)
        if facts is None:
            raise TokenRefused("the token behind this request", "is gone; log in again")
        return subject_of(facts) if may_have_expired else self._subject(facts)

    def _subject(self, facts: TokenFacts) -> Subject:
        return subject_of(facts, now=self._catalog.now())

    async def _verified(self, token: str, use: str, address: str) -> Claims:
        try:
            return await self._keyring.verify(token, use=use)
        except BearerInvalid as error:
            if not (error.expired or error.early):  # then it is signed, and no guess
                self._attempts.failed(address)
            raise


def subject_of(facts: TokenFacts, *, now: float | None = None) -> Subject:
    """Return whom a token speaks for; `now` None: it may have expired.

    Raises TokenRefused, saying which token and why.
    """
    which = f"token {facts.hint}… ({facts.token_id}) of {facts.account}"
    if facts.disabled_at is not None:
        raise TokenRefused(which, "does not count: the account is disabled")
    if facts.revoked_at is not None:
        raise TokenRefused(which, f"was revoked on {_day(facts.revoked_at)}; make another")
    if now is not None and facts.expires_at is not None and facts.expires_at <= now:
        raise TokenRefused(
            which, f"expired on {_day(facts.expires_at)}; make another", expired=True
        )
    workflow = None
    if facts.source_id is not None:
        workflow = WorkflowOf(facts.source_id, facts.kind)
    return Subject(
        account_id=facts.account_id,
        name=facts.account,
        is_administrator=facts.is_administrator and workflow is None,
        scopes=facts.scopes,
        token_id=facts.token_id,
        workflow=workflow,
    )


def has_ended(error: Unauthenticated) -> bool:
    """Return whether a credential was valid and has expired."""
    return isinstance(error, BearerInvalid | TokenRefused) and error.expired


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
