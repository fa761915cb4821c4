"""Signing in to pages and out of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from blobd.http.answers import error_response
from blobd.http.errors import CrossSite, RequestInvalid
from blobd.registry.errors import TokenRefused, TooManyFailures
from blobd.registry.http.visits import (
    check_secret,
    first,
    missing,
    own_path,
    page,
    see_other,
)
from blobd.registry.pages import render

if TYPE_CHECKING:
    from aiohttp import web

    from blobd.errors import BlobdError
    from blobd.registry.http.package_events import PackageEvents
    from blobd.registry.http.visits import Visits


class SignIn:
    """Handlers."""

    def __init__(self, visits: Visits, work: PackageEvents) -> None:
        self._visits = visits
        self._work = work

    async def form(self, request: web.BaseRequest) -> web.StreamResponse:
        """The sign-in form; signed-in visitors are redirected at once."""
        visit = await self._visits.visit(request)
        if not self._visits.closed:
            return missing(visit)
        onward = own_path(request.query.get("next", ""))
        if visit.may_send_forms:
            return see_other(onward)
        return self._form(request, onward)

    async def sign_in(self, request: web.BaseRequest) -> web.StreamResponse:
        """Sign in with a personal access token, and go on to where one was."""
        form = await self._visits.read_form(request)
        onward = own_path(first(form, "next"))
        try:
            subject = await self._visits.sign_in(request, form)
        except (TokenRefused, TooManyFailures, RequestInvalid, CrossSite) as error:
            return self._form(request, onward, error)
        response = see_other(onward)
        await self._visits.begin(request, response, subject)
        self._work.note(request, subject, "sign-in", None)
        return response

    async def sign_out(self, request: web.BaseRequest) -> web.StreamResponse:
        """End the session; the token stays valid. No effect if there is no session."""
        visit = await self._visits.visit(request)
        form = await self._visits.read_form(request)
        response = see_other(f"{render.ROOT}/")
        if not visit.may_send_forms:
            return response
        check_secret(form, visit.around.csrf)
        await self._visits.end(request, response)
        self._work.note(request, visit.subject, "sign-out", None)
        return response

    def _form(
        self, request: web.BaseRequest, onward: str, error: BlobdError | None = None
    ) -> web.Response:
        nonce, secret = self._visits.about_to_sign_in(request)
        visit = self._visits.nobody(request)
        visit = replace(visit, around=replace(visit.around, csrf=secret, here=onward))
        answer = None if error is None else error_response(error)
        status = 200 if answer is None else answer.status
        if status == 401:  # browsers would ask for a password of their own
            status = 403
        response = page(visit, "sign-in.html", status=status, onward=onward, error=error)
        response.headers["Cache-Control"] = "private, no-store"
        if answer is not None and "Retry-After" in answer.headers:
            response.headers["Retry-After"] = answer.headers["Retry-After"]
        self._visits.keep_nonce(request, response, nonce)
        return response
