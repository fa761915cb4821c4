"""`/settings/users` and `/settings/organisations`, for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import BlobdError
from blobd.http.answers import answer_for
from blobd.http.errors import RequestInvalid
from blobd.registry.errors import PermissionDenied
from blobd.registry.http.page_actions import is_shown
from blobd.registry.http.page_lists import PER_PAGE, page_number, paging, search_text
from blobd.registry.http.visits import first, missing, page, see_other

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from blobd.registry.http.page_actions import Actions
    from blobd.registry.http.visits import Visit, Visits

_FORMS: Mapping[str, Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]]] = {
    "users": {
        "add": ("addUser", (), ("name", "administrator")),
        "disable": ("disableUser", ("user",), ()),
        "enable": ("enableUser", ("user",), ()),
    },
    "organisations": {"add": ("addOrganisation", (), ("name", "owner"))},
}
"""By page and a form's `do`: the operation, which of its fields are in the operation's path, and
which are not."""
_LISTS: Mapping[str, str] = {"users": "listUsers", "organisations": "listOrganisations"}
_DONE: Mapping[str, Mapping[str, str]] = {
    "users": {
        "add": "The user has been made. It has no token yet.",
        "disable": "The user has been shut out, with all tokens.",
        "enable": "The user has been let in again, with the tokens that were not revoked.",
    },
    "organisations": {"add": "The organisation has been made."},
}


class AccountPages:
    """Handlers of one of the two pages. 404 unless the visitor is an administrator."""

    def __init__(self, visits: Visits, actions: Actions, which: str) -> None:
        """`which`: `users` or `organisations`."""
        self._visits = visits
        self._actions = actions
        self._which = which

    async def show(self, request: web.BaseRequest) -> web.StreamResponse:
        """All of them, searched and paged, and a form to make one."""
        visit = await self._visits.visit(request)
        if not visit.may_send_forms:
            return self._visits.sign_in_first(visit)
        done = _DONE[self._which].get(request.query.get("done", ""), "")
        return await self._page(visit, done=done)

    async def change(self, request: web.BaseRequest) -> web.StreamResponse:
        """Do what a form says, and show the list again."""
        visit, form = await self._visits.submission(request)
        what = first(form, "do")
        try:
            if what not in _FORMS[self._which]:
                raise RequestInvalid("the form does not say what to do")
            operation, places, fields = _FORMS[self._which][what]
            await self._actions.run(
                visit,
                operation,
                {place: first(form, place).strip() for place in places},
                **{field: first(form, field).strip() for field in fields if field in form},
            )
        except BlobdError as error:
            if not is_shown(error):
                raise
            return await self._page(visit, error=error)
        return see_other(f"/settings/{self._which}?done={what}")

    async def _page(
        self, visit: Visit, *, done: str = "", error: BlobdError | None = None
    ) -> web.Response:
        try:
            everybody = await self._actions.entries(visit, _LISTS[self._which], {})
        except PermissionDenied:
            return missing(visit)
        number, text = page_number(visit.request), search_text(visit.request)
        found = [account for account in everybody if text in str(account["login"])]
        return page(
            visit,
            f"{self._which}.html",
            status=200 if error is None else answer_for(error).status,
            which=self._which,
            accounts=found[(number - 1) * PER_PAGE : number * PER_PAGE],
            total=len(found),
            text=text,
            paging=paging(number, len(found), q=text),
            done=done,
            error=error,
        )
