"""`/settings/tokens`: a person's own tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import BlobdError
from blobd.http.answers import answer_for
from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import SCOPES
from blobd.registry.http.page_actions import is_shown
from blobd.registry.http.visits import first, page, see_other

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from blobd.registry.http.page_actions import Actions
    from blobd.registry.http.visits import Visit, Visits

_DAY_S = 86_400
_DAYS = (7, 30, 60, 90, 365)
_DEFAULT_DAYS = 90
_NOTE_MAX_CHARACTERS = 255
_AT = "/settings/tokens"


class TokenPages:
    """Handlers."""

    def __init__(self, visits: Visits, actions: Actions) -> None:
        self._visits = visits
        self._actions = actions

    async def list(self, request: web.BaseRequest) -> web.StreamResponse:
        """The tokens, by what they are known by; never their secrets."""
        visit = await self._visits.visit(request)
        if not visit.may_send_forms:
            return self._visits.sign_in_first(visit)
        return await self._list(visit, revoked="revoked" in request.query)

    async def revoke(self, request: web.BaseRequest) -> web.StreamResponse:
        """End a token; where it is the session's own, that ends too."""
        visit, form = await self._visits.submission(request)
        token_id = first(form, "token_id")
        try:
            await self._actions.run(visit, "revokeToken", {"token_id": token_id})
        except BlobdError as error:
            if not is_shown(error):
                raise
            return await self._list(visit, error=error)
        return see_other(f"{_AT}?revoked")

    async def form(self, request: web.BaseRequest) -> web.StreamResponse:
        """The form for a new token, filled as the query says (`scopes`, `description`)."""
        visit = await self._visits.visit(request)
        if not visit.may_send_forms:
            return self._visits.sign_in_first(visit)
        scopes = [part.strip() for part in request.query.get("scopes", "").split(",")]
        note = request.query.get("description", "")[:_NOTE_MAX_CHARACTERS]
        return self._form(visit, scopes, note, str(_DEFAULT_DAYS))

    async def create(self, request: web.BaseRequest) -> web.StreamResponse:
        """Make a token, and show its secret this once."""
        visit, form = await self._visits.submission(request)
        scopes, note, days = form.get("scopes", []), first(form, "note"), first(form, "days")
        try:
            if days not in map(str, _DAYS):
                raise RequestInvalid("choose after how many days the token expires")
            made = await self._actions.run(
                visit,
                "createToken",
                {},
                scopes=scopes,
                note=note,
                lifetime_s=float(int(days) * _DAY_S),
            )
        except BlobdError as error:
            if not is_shown(error):
                raise
            return self._form(visit, scopes, note, days, error)
        return page(visit, "token-made.html", made=made, note=note)

    async def _list(
        self, visit: Visit, *, revoked: bool = False, error: BlobdError | None = None
    ) -> web.Response:
        tokens = await self._actions.run(visit, "listTokens", {})
        status = 200 if error is None else answer_for(error).status
        return page(
            visit, "tokens.html", status=status, tokens=tokens, revoked=revoked, error=error,
            own=visit.subject.token_id,
        )  # fmt: skip

    def _form(
        self,
        visit: Visit,
        scopes: Sequence[str],
        note: str,
        days: str,
        error: BlobdError | None = None,
    ) -> web.Response:
        return page(
            visit,
            "token-new.html",
            status=200 if error is None else answer_for(error).status,
            choices=[(scope, scope in scopes, visit.subject.has_scope(scope)) for scope in SCOPES],
            note=note,
            all_days=_DAYS,
            days=days,
            error=error,
        )
