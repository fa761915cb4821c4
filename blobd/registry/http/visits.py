"""Who visits a page: by an Authorization header, or by the cookie that the sign-in form gives.

The cookie is a signed statement of which personal access token the visitor signed in with, for
pages alone: no API looks at cookies, and no API takes the statement as a token. Whatever ends the
token ends the session with the next request; so does signing out, for every copy of the cookie; and
after SESSION_LIFETIME_S it ends by itself.

A form that changes something carries a secret that follows from the cookie, which a page of another
site can neither read nor make the browser put into a form.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from blobd.database import texts
from blobd.http.errors import CrossSite, RequestInvalid, Unauthenticated
from blobd.registry.auth.subjects import ANONYMOUS
from blobd.registry.errors import BearerInvalid, TokenRefused
from blobd.registry.identity.authenticator import Caller
from blobd.registry.identity.sessions import SESSION_LIFETIME_S, Sessions
from blobd.registry.pages import render
from blobd.registry.pages.view_models import Around

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blobd.database import Catalog
    from blobd.http.origin import Origins
    from blobd.http.whole_bodies import WholeBodies
    from blobd.registry.auth.bearer import Keyring
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.http.guard import Guard
    from blobd.registry.identity.authenticator import Authenticator

CSRF = "csrf"
"""The field of a form that holds the session's secret."""
_CHALLENGE = 'Basic realm="blobd packages", charset="UTF-8"'
_SESSION, _BEFORE = "blobd_session", "blobd_sign_in"
"""The cookies of a session, and of a sign-in form."""
_OWN_PATH = re.compile(r"/(?:packages|settings)(?:[/?][!-\[\]-~]*)?")
"""A path of a page with its query, as it stands in a URL: visible ASCII without a backslash."""
_FORM_MAX_BYTES = 64 * 1024
_FORM_MAX_FIELDS = 50


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page."""

    request: web.BaseRequest
    caller: Caller
    around: Around

    @property
    def subject(self) -> Subject:
        return self.caller.subject

    @property
    def may_send_forms(self) -> bool:
        """Whether the visitor signed in by the form, so that other forms can be trusted."""
        return bool(self.around.visitor and self.around.csrf)


class Visits:
    """Finds out who visits, and keeps them signed in. One per process."""

    def __init__(
        self,
        catalog: Catalog,
        guard: Guard,
        origins: Origins,
        keyring: Keyring,
        authenticator: Authenticator | None,
        bodies: WholeBodies,
    ) -> None:
        self._catalog = catalog
        self._bodies = bodies
        self._guard = guard
        self._origins = origins
        self._sessions = Sessions(catalog, keyring)
        self._authenticator = authenticator

    @property
    def closed(self) -> bool:
        """Whether there are identities."""
        return self._authenticator is not None

    def pages_elsewhere(self, request: web.BaseRequest) -> str | None:
        """Return the pages' own address, where the request came to another one."""
        return self._origins.pages_elsewhere(request)

    def nobody(self, request: web.BaseRequest) -> Visit:
        """Return a visit without asking who it is."""
        around = Around(self._origins.host(request), closed=self.closed)
        return Visit(request, Caller(ANONYMOUS), around)

    async def visit(self, request: web.BaseRequest) -> Visit:
        """Return who visits. A session that has ended is none.

        Raises Unauthenticated for a wrong Authorization header, so that browsers ask again.
        """
        caller, csrf = await self._caller(request)
        around = Around(
            host=self._origins.host(request),
            visitor=caller.subject.name,
            here=request.rel_url.raw_path_qs if request.method in {"GET", "HEAD"} else "",
            csrf=csrf,
            is_administrator=caller.subject.is_administrator,
            closed=self.closed,
        )
        return Visit(request, caller, around)

    async def submission(self, request: web.BaseRequest) -> tuple[Visit, dict[str, list[str]]]:
        """Return who sends a form, asked once all of it is here, and its fields.

        Raises CrossSite where it is not of a session, RequestInvalid, Unauthenticated, and
        what `read_form` does.
        """
        form = await self.read_form(request)
        visit = await self.visit(request)
        check_secret(form, visit.around.csrf)
        return visit, form

    def sign_in_first(self, visit: Visit) -> web.Response:
        """Return the answer that leads to the form to sign in with, and back; the same for all."""
        if not self.closed:
            return missing(visit)
        query = urlencode({"next": visit.around.here or f"{render.ROOT}/"})
        return see_other(f"{render.ROOT}/-/sign-in?{query}")

    def about_to_sign_in(self, request: web.BaseRequest) -> tuple[str, str]:
        """Return a nonce for the sign-in form's cookie, and the form's secret."""
        nonce = request.cookies.get(self._name(request, _BEFORE)) or secrets.token_urlsafe(24)
        return nonce, _secret_of(nonce)

    def keep_nonce(self, request: web.BaseRequest, response: web.Response, nonce: str) -> None:
        """Set the sign-in form's cookie."""
        self._set(request, response, _BEFORE, nonce, None)

    async def read_form(self, request: web.BaseRequest) -> dict[str, list[str]]:
        """Return a form's fields. Raises RequestInvalid, and what WholeBodies does."""
        return await self._bodies.read_form(
            request, limit_bytes=_FORM_MAX_BYTES, max_fields=_FORM_MAX_FIELDS
        )

    async def sign_in(self, request: web.BaseRequest, form: Mapping[str, list[str]]) -> Subject:
        """Return whom a form's token speaks for.

        Raises CrossSite, TokenRefused, TooManyFailures, RequestInvalid.
        """
        nonce = request.cookies.get(self._name(request, _BEFORE), "")
        check_secret(form, _secret_of(nonce) if nonce else "")
        if self._authenticator is None:
            raise RequestInvalid("this registry has no identities to sign in with")
        secret = first(form, "token").strip()
        if texts.problem(secret):
            secret = ""
        address = self._guard.credentials(request).address
        subject = (await self._authenticator.by_secret(secret, address)).subject
        if subject.person_id is None:
            raise RequestInvalid("this is a workflow's token; sign in with a personal access token")
        return subject

    async def begin(
        self, request: web.BaseRequest, response: web.Response, subject: Subject
    ) -> None:
        """Set the cookie by which a person stays signed in."""
        value = await self._sessions.begin(subject)
        self._set(request, response, _SESSION, value, int(SESSION_LIFETIME_S))
        self._set(request, response, _BEFORE, "", 0)

    async def end(self, request: web.BaseRequest, response: web.Response) -> None:
        """End the session for every copy of its cookie, and delete the cookie."""
        with suppress(BearerInvalid):
            await self._sessions.end(request.cookies.get(self._name(request, _SESSION), ""))
        self._set(request, response, _SESSION, "", 0)

    async def _caller(self, request: web.BaseRequest) -> tuple[Caller, str]:
        cookie = request.cookies.get(self._name(request, _SESSION))
        if self._authenticator is None or cookie is None or "Authorization" in request.headers:
            try:
                return await self._guard.caller(request), ""
            except Unauthenticated as error:
                error.challenge = _CHALLENGE
                raise
        try:
            claims = await self._sessions.verify(cookie)
            subject = await self._authenticator.by_claims(claims)
        except (BearerInvalid, TokenRefused):
            return Caller(ANONYMOUS), ""
        self._guard.act_for(request, subject)
        return Caller(subject, expires_at=claims.expires_at), _secret_of(cookie)

    def _is_secure(self, request: web.BaseRequest) -> bool:
        return self._origins.own_url(request).startswith("https:")

    def _name(self, request: web.BaseRequest, name: str) -> str:
        """Return a cookie's name; with `__Host-` no other host of the domain can set it."""
        return f"__Host-{name}" if self._is_secure(request) else name

    def _set(
        self,
        request: web.BaseRequest,
        response: web.Response,
        name: str,
        value: str,
        lifetime_s: int | None,
    ) -> None:
        response.set_cookie(
            self._name(request, name),
            value,
            max_age=lifetime_s,
            path="/",
            secure=self._is_secure(request),
            httponly=True,
            samesite="Lax",
        )


def first(form: Mapping[str, list[str]], name: str) -> str:
    """Return a field's first value; empty where the form has none."""
    return form.get(name, [""])[0]


def check_secret(form: Mapping[str, list[str]], expected: str) -> None:
    """Raise CrossSite unless a form carries the secret of its session."""
    shown = first(form, CSRF).encode(errors="replace")
    if not expected or not hmac.compare_digest(shown, expected.encode()):
        raise CrossSite("the form is not of this session: open its page again and repeat it")


def own_path(text: str) -> str:
    """Return a path of a page to go on to; the home where a text is none."""
    return text if _OWN_PATH.fullmatch(text) else f"{render.ROOT}/"


def page(visit: Visit, template: str, *, status: int = 200, **facts: object) -> web.Response:
    """Return a page as an answer; what a session sees is kept nowhere."""
    headers = dict(render.HEADERS)
    if visit.around.visitor:
        headers["Cache-Control"] = "private, no-store"
    html = render.render(template, visit.around, **facts)
    return web.Response(status=status, text=html, content_type="text/html", headers=headers)


def missing(visit: Visit) -> web.Response:
    """Return the page for what is not there, or not for this visitor; it says the same of both."""
    return page(visit, "missing.html", status=404)


def see_other(place: str) -> web.Response:
    """Return the answer that sends a browser on with GET (RFC 9110, section 15.4.4)."""
    return web.Response(status=303, headers={**render.HEADERS, "Location": place})


def _secret_of(cookie: str) -> str:
    """Return what forms carry in a session; the cookie cannot be found from it."""
    return hashlib.sha256(b"blobd form\0" + cookie.encode(errors="surrogateescape")).hexdigest()
