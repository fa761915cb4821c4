"""`/token`: bearer tokens for callers with a credential (distribution's token.md, oauth.md).

A token that is issued is taken in a header by this server and by proxies with usual limits; who
asks for more than such a token can cover gets 400, never a token that covers less in silence.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from blobd.http.errors import CredentialMalformed, RequestInvalid, Unauthenticated
from blobd.registry.auth.scopes import parse_scopes
from blobd.registry.auth.subjects import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from blobd.http.whole_bodies import WholeBodies
    from blobd.registry.auth.scopes import Scope
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.http.guard import Guard
    from blobd.registry.identity.authenticator import Authenticator
    from blobd.registry.identity.issue import Issued, Issuer

_FORM_MAX_BYTES = 512 * 1024
"""As many scopes as a token covers, with names as long as they get."""
_FORM_MAX_FIELDS = 1100
_REALM = "blobd"


class TokenRoutes:
    """Handlers of the token endpoint."""

    def __init__(
        self,
        authenticator: Authenticator,
        issuer: Issuer,
        guard: Guard,
        bodies: WholeBodies,
        used: Callable[[Subject], None],
        *,
        refresh_tokens: bool,
    ) -> None:
        """`used` gets the subject whose token was used.

        `refresh_tokens`: issue them to clients that ask (`offline_token`, `access_type=offline`).
        Those issued before are accepted either way. docker stores one as `identitytoken`, and
        containers/image (podman, skopeo, buildah) then cannot use the auth file.
        """
        self._authenticator = authenticator
        self._issuer = issuer
        self._guard = guard
        self._bodies = bodies
        self._used = used
        self._refresh_tokens = refresh_tokens

    async def get(self, request: web.BaseRequest) -> web.StreamResponse:
        """A token for Basic credentials, or an anonymous one."""
        credentials = self._guard.credentials(request)
        try:
            caller = await self._authenticator.caller(
                credentials.authorization, credentials.address
            )
            if caller.asked is not None:
                raise CredentialMalformed("a bearer token gets no other; show the token behind it")
        except Unauthenticated as error:
            raise _wants_basic(error) from None
        return await self._answer(
            request,
            caller.subject,
            parse_scopes(request.query.getall("scope", [])),
            offline=request.query.get("offline_token", "").lower() in {"true", "1"},
        )

    async def post(self, request: web.BaseRequest) -> web.StreamResponse:
        """The same by OAuth 2 (RFC 6749, 4.3 and 6): a form with a password or a refresh token."""
        form = await self._bodies.read_form(
            request, limit_bytes=_FORM_MAX_BYTES, max_fields=_FORM_MAX_FIELDS
        )
        address = self._guard.credentials(request).address
        refresh_token: str | None = None
        try:
            match form.get("grant_type", [""])[0]:
                case "password":
                    secret = form.get("password", [""])[0]
                    subject = (await self._authenticator.by_secret(secret, address)).subject
                case "refresh_token":
                    refresh_token = form.get("refresh_token", [""])[0]
                    subject = await self._authenticator.by_refresh_token(refresh_token, address)
                case other:
                    raise RequestInvalid(
                        f"grant_type={other[:40]!r} is not supported: it is password or "
                        "refresh_token"
                    )
        except Unauthenticated as error:
            raise _wants_basic(error) from None
        return await self._answer(
            request,
            subject,
            parse_scopes(form.get("scope", [])),
            offline=form.get("access_type", [""])[0] == "offline",
            refresh_token=refresh_token,
        )

    async def _answer(
        self,
        request: web.BaseRequest,
        subject: Subject,
        asked: Sequence[Scope],
        *,
        offline: bool,
        refresh_token: str | None = None,
    ) -> web.Response:
        self._guard.act_for(request, subject)
        self._used(subject)
        issued = await self._issuer.access(subject, asked)
        wanted = self._refresh_tokens and offline and refresh_token is None
        if wanted and subject != ANONYMOUS:
            refresh_token = (await self._issuer.refresh(subject)).token
        return web.json_response(
            _document(issued, refresh_token), headers={"Cache-Control": "no-store"}
        )


def _document(issued: Issued, refresh_token: str | None) -> Mapping[str, object]:
    """Return the answer by both names that clients read a token from."""
    document: dict[str, object] = {
        "token": issued.token,
        "access_token": issued.token,
        "scope": " ".join(map(str, issued.scopes)),
        "token_type": "Bearer",
        "expires_in": issued.expires_in_s,
        "issued_at": datetime.fromtimestamp(int(issued.issued_at), UTC).isoformat(),
    }
    if refresh_token is not None:
        document["refresh_token"] = refresh_token
    return document


def _wants_basic(error: Unauthenticated) -> Unauthenticated:
    """Return the error with this endpoint's challenge: it takes Basic credentials."""
    error.challenge = f'Basic realm="{_REALM}"'
    return error
