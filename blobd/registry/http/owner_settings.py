"""What owners do on pages: members, teams, and deleted packages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from blobd.errors import BlobdError
from blobd.http.answers import answer_for
from blobd.http.errors import RequestInvalid
from blobd.registry.catalog.accounts import ORGANISATION
from blobd.registry.errors import PermissionDenied
from blobd.registry.http.page_actions import is_shown
from blobd.registry.http.visits import first, missing, page, see_other
from blobd.registry.identity.accounts import find_account
from blobd.registry.pages import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from blobd.database import Catalog
    from blobd.registry.catalog.accounts import Account
    from blobd.registry.http.page_actions import Actions
    from blobd.registry.http.visits import Visit, Visits

_FORMS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "member": ("setMember", ("organisation", "user"), ("role",)),
    "remove-member": ("removeMember", ("organisation", "user"), ()),
    "team": ("addTeam", ("organisation",), ("name",)),
    "remove-team": ("removeTeam", ("organisation", "team"), ()),
    "team-member": ("addTeamMember", ("organisation", "team", "user"), ()),
    "remove-team-member": ("removeTeamMember", ("organisation", "team", "user"), ()),
    "inherit": ("changeOrganisation", ("organisation",), ("packages_inherit_access",)),
    "restore": ("restore{}Package", ("owner", "name"), ()),
}
_DONE: Mapping[str, str] = {
    "deleted": "The package has been deleted. It can be restored below.",
    "member": "The member has been added or changed.",
    "remove-member": "The member has been removed, from all teams too.",
    "team": "The team has been made.",
    "remove-team": "The team has been removed, with every role that it had.",
    "team-member": "The member has been put into the team.",
    "remove-team-member": "The member has been taken out of the team.",
    "inherit": "The rule for new packages has been changed; those that are there stay as they are.",
    "restore": "The package has been restored.",
}


class OwnerSettings:
    """Handlers."""

    def __init__(self, catalog: Catalog, visits: Visits, actions: Actions) -> None:
        self._catalog = catalog
        self._visits = visits
        self._actions = actions

    async def show(self, request: web.BaseRequest, owner: str) -> web.StreamResponse:
        """An organisation's members and teams, for its members; and deleted packages."""
        visit = await self._visits.visit(request)
        if not visit.may_send_forms:
            return self._visits.sign_in_first(visit)
        done = _DONE.get(request.query.get("done", ""), "")
        return await self._page(visit, owner, done=done)

    async def change(self, request: web.BaseRequest, owner: str) -> web.StreamResponse:
        """Do what a form says, and show the settings again."""
        visit, form = await self._visits.submission(request)
        account = await find_account(self._catalog, owner)
        what = first(form, "do")
        if account is None:
            return missing(visit)
        try:
            if what not in _FORMS:
                raise RequestInvalid("the form does not say what to do")
            operation, places, fields = _FORMS[what]
            known = {"owner": account.name, "organisation": account.name}
            await self._actions.run(
                visit,
                operation.format("Org" if account.kind == ORGANISATION else "User"),
                {place: known.get(place) or first(form, place).strip() for place in places},
                **{field: first(form, field).strip() for field in fields},
            )
        except BlobdError as error:
            if not is_shown(error):
                raise
            return await self._page(visit, owner, error=error)
        return see_other(f"{render.ROOT}/{quote(account.name)}/-/settings?done={what}")

    async def _page(
        self, visit: Visit, owner: str, *, done: str = "", error: BlobdError | None = None
    ) -> web.Response:
        account = await find_account(self._catalog, owner)
        if account is None:
            return missing(visit)
        members: list[dict[str, object]] = []
        teams: list[tuple[str, list[dict[str, object]]]] = []
        if account.kind == ORGANISATION:
            try:
                members, teams = await self._people(visit, account)
            except PermissionDenied:
                return missing(visit)
        elif visit.subject.name != account.name and not visit.subject.is_administrator:
            return missing(visit)
        word = "Org" if account.kind == ORGANISATION else "User"
        deleted = await self._actions.entries(
            visit,
            f"list{word}Packages",
            {"owner": account.name},
            package_type="container",
            state="deleted",
        )
        return page(
            visit,
            "owner-settings.html",
            status=200 if error is None else answer_for(error).status,
            owner=account,
            members=members,
            teams=teams,
            deleted=deleted,
            done=done,
            error=error,
        )

    async def _people(
        self, visit: Visit, account: Account
    ) -> tuple[list[dict[str, object]], list[tuple[str, list[dict[str, object]]]]]:
        path = {"organisation": account.name}
        members = await self._actions.entries(visit, "listMembers", path)
        teams = []
        for team in await self._actions.entries(visit, "listTeams", path):
            name = str(team["name"])
            within = {**path, "team": name}
            teams.append((name, await self._actions.entries(visit, "listTeamMembers", within)))
        return members, teams
