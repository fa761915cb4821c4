"""Authorization of every route: no handler of a repository runs without an Access.

Refusals say where to get which token (RFC 6750, section 3), whichever handler raised them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from blobd.fairness import act_for
from blobd.http.errors import Unauthenticated
from blobd.registry.auth.attempts import account_of
from blobd.registry.auth.roles import Action
from blobd.registry.auth.scopes import Challenge, parse_scopes
from blobd.registry.errors import LoginNeeded
from blobd.registry.identity.authorizer import RequestCredentials
from blobd.registry.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from blobd.http.origin import Origins
    from blobd.http.routes import Handler
    from blobd.registry.auth.scopes import Scope
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.identity.authenticator import Caller
    from blobd.registry.identity.authorizer import Authorizer
    from blobd.registry.names import RepositoryName

SECRET = "secret"  # noqa: S105 the parameter's name
"""The query parameter of an upload's URL that holds its secret."""


class Guard:
    """Wraps handlers: they are called with an Access in place of a name."""

    def __init__(self, authorizer: Authorizer, origins: Origins, *, service: str) -> None:
        self._authorizer = authorizer
        self._origins = origins
        self._service = service

    def credentials(self, request: web.BaseRequest) -> RequestCredentials:
        """Return the credentials of a request, and the address that they come from."""
        return RequestCredentials(
            request.headers.get("Authorization"), self._origins.address(request)
        )

    def account(self, request: web.BaseRequest, subject: Subject) -> str:
        """Return whose share of the limits a request uses: its account's, else its address's."""
        if subject.account_id is not None:
            return f"account:{subject.account_id}"
        return account_of(self._origins.address(request))

    def act_for(self, request: web.BaseRequest, subject: Subject) -> None:
        """Let what a request does from here on use the share of the account that it speaks for."""
        act_for(self.account(request, subject))

    async def caller(self, request: web.BaseRequest) -> Caller:
        """Return who asks, and act for that account from here on. Raises Unauthenticated."""
        caller = await self._authorizer.caller(self.credentials(request))
        self.act_for(request, caller.subject)
        return caller

    async def signed_in(
        self, request: web.BaseRequest, what: str, scope: Scope | None = None
    ) -> Subject:
        """Return the signed-in subject; anonymous callers are refused. Raises Unauthenticated."""
        with self.challenging(request):
            subject = await self._authorizer.signed_in(self.credentials(request), what, scope)
        self.act_for(request, subject)
        return subject

    async def may_read(self, request: web.BaseRequest, repository: RepositoryName) -> bool:
        """Return whether a request that is about another repository could read this one."""
        return await self._authorizer.may_read(self.credentials(request), repository)

    async def version(self, request: web.BaseRequest) -> None:
        """Let those in whose credential counts. Raises Unauthenticated.

        What clients ask first: from the refusal they learn that and where to log in.
        """
        if self._authorizer.is_open:
            return
        with self.challenging(request):
            caller = await self.caller(request)
            if not caller.subject.signed_in and caller.asked is None:
                raise LoginNeeded("this registry")

    def reads(self, handler: Handler) -> Handler:
        """Require read access."""
        return self._admitting(Action.READ, handler)

    def looks(self, handler: Handler) -> Handler:
        """Require read access; anonymous callers are challenged for write access too.

        For what pushers ask before they push: some keep the first token that they get.
        """
        return self._admitting(Action.READ, handler, challenge=Action.WRITE)

    def writes(self, handler: Handler) -> Handler:
        """Require write access; the repository need not exist."""
        return self._admitting(Action.WRITE, handler)

    def deletes(self, handler: Handler) -> Handler:
        """Require the right to delete."""
        return self._admitting(Action.DELETE, handler)

    def continues(self, handler: Handler) -> Handler:
        """Let those in whose upload it is, be their token over by now."""

        async def guarded(
            request: web.BaseRequest, name: str, upload_id: str
        ) -> web.StreamResponse:
            credentials = self.credentials(request)
            with self.challenging(request):
                access = await self._authorizer.admit_upload(
                    credentials, parse_name(name), upload_id, request.query.get(SECRET)
                )
                self.act_for(request, access.subject)
                return await handler(request, access, upload_id=upload_id)

        return guarded

    @contextmanager
    def challenging(self, request: web.BaseRequest) -> Iterator[None]:
        """Attach a WWW-Authenticate challenge to refusals in this block."""
        try:
            yield
        except Unauthenticated as error:
            error.challenge = str(
                Challenge(
                    realm=f"{self._origins.base_url(request)}/token",
                    service=self._service,
                    scopes=parse_scopes([error.scope]),
                    error=error.problem or None,
                )
            )
            raise

    def _admitting(
        self, action: Action, handler: Handler, *, challenge: Action | None = None
    ) -> Handler:
        async def guarded(
            request: web.BaseRequest, name: str, **arguments: str
        ) -> web.StreamResponse:
            credentials = self.credentials(request)
            with self.challenging(request):
                access = await self._authorizer.admit(
                    credentials, parse_name(name), action, challenge=challenge or action
                )
                self.act_for(request, access.subject)
                return await handler(request, access, **arguments)

        return guarded
