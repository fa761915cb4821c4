"""What a package's admins do on pages: access, the link, deleting and restoring."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from blobd.errors import BlobdError
from blobd.http.answers import answer_for
from blobd.http.errors import RequestInvalid
from blobd.registry.catalog.accounts import ORGANISATION
from blobd.registry.errors import NameInvalid, NotFound, PermissionDenied
from blobd.registry.http.page_actions import is_shown
from blobd.registry.http.visits import first, missing, page, see_other
from blobd.registry.packages.manage import UNPUBLISH_WITHIN_S, find_package
from blobd.registry.pages import render
from blobd.registry.pages.view_models import SettingsFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from blobd.database import Catalog
    from blobd.registry.catalog.packages import Package
    from blobd.registry.http.page_actions import Actions
    from blobd.registry.http.visits import Visit, Visits

_FORMS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "visibility": ("change{}Package", (), ("visibility",)),
    "immutable": ("change{}Package", (), ("immutable_tags",)),
    "sparse": ("change{}Package", (), ("sparse_indexes",)),
    "link": ("link{}Package", (), ("repository",)),
    "unlink": ("unlink{}Package", (), ()),
    "mode": ("set{}AccessMode", (), ("inherits",)),
    "role": ("set{}Role", ("grantee",), ("role",)),
    "remove-role": ("remove{}Role", ("grantee",), ()),
    "grant": ("set{}Grant", ("source", "kind"), ("role", "may_publish")),
    "remove-grant": ("remove{}Grant", ("source", "kind"), ()),
    "delete": ("delete{}Package", (), ()),
    "delete-version": ("delete{}Version", ("version_id",), ("force",)),
    "restore-version": ("restore{}Version", ("version_id",), ()),
    "delete-tag": ("delete{}Tag", ("tag",), ()),
}
"""By a form's `do`: the operation, which of its fields are in the operation's path, and which are
not."""
_DONE: Mapping[str, str] = {
    "visibility": "The visibility has been changed.",
    "immutable": "The rule for tags has been changed.",
    "sparse": "The rule for indexes has been changed.",
    "link": "The package has been linked; nobody's rights have changed.",
    "unlink": "The link has ended, with what that repository's workflows were granted.",
    "mode": "Inheritance has been changed.",
    "role": "The role has been given.",
    "remove-role": "The role has been taken away.",
    "grant": "The workflows have been granted access.",
    "remove-grant": "The workflows' access has been taken away.",
    "delete-version": "The version has been deleted. It can be restored below.",
    "restore-version": "The version has been restored, with those of its tags that were free.",
    "delete-tag": "The tag has been deleted; its version stays.",
}
_CONFIRMED = frozenset({"delete"})
"""Forms in which the package's name has to be typed; publishing is the other one."""


class PackageSettings:
    """Handlers."""

    def __init__(self, catalog: Catalog, visits: Visits, actions: Actions) -> None:
        self._catalog = catalog
        self._visits = visits
        self._actions = actions

    async def show(self, request: web.BaseRequest, owner: str, name: str) -> web.StreamResponse:
        """The settings, for admins; 404 for visitors who cannot read the package."""
        visit = await self._visits.visit(request)
        if not visit.may_send_forms:
            return self._visits.sign_in_first(visit)
        done = _DONE.get(request.query.get("done", ""), "")
        return await self._page(visit, owner, name, done=done)

    async def change(self, request: web.BaseRequest, owner: str, name: str) -> web.StreamResponse:
        """Do what a form says, and show the settings again."""
        visit, form = await self._visits.submission(request)
        what = first(form, "do")
        try:
            package = await find_package(self._catalog, owner, name)
            warnings = await self._do(visit, package, what, form)
        except (NotFound, NameInvalid) as error:
            return await self._page(visit, owner, name, error=error)
        except BlobdError as error:
            if not is_shown(error):
                raise
            return await self._page(visit, owner, name, error=error)
        if what == "delete":
            return see_other(f"{render.ROOT}/{quote(package.owner)}/-/settings?done=deleted")
        if warnings:
            done = _DONE.get(what, "")
            return await self._page(visit, owner, name, done=done, warnings=warnings)
        return see_other(f"{render.package_path(package)}/-/settings?done={what}")

    async def _do(
        self, visit: Visit, package: Package, what: str, form: Mapping[str, list[str]]
    ) -> Sequence[str]:
        if what not in _FORMS:
            raise RequestInvalid("the form does not say what to do")
        publishes = what == "visibility" and first(form, "visibility") != "private"
        path = f"{package.owner}/{package.name}"
        if (what in _CONFIRMED or publishes) and first(form, "confirm").strip() != path:
            raise RequestInvalid(f"type {path} to confirm; nothing has been changed")
        operation, places, fields = _FORMS[what]
        word = "Org" if package.owner_kind == ORGANISATION else "User"
        return await self._actions.warnings(
            visit,
            operation.format(word),
            {
                "owner": package.owner,
                "name": package.name,
                **{place: first(form, place).strip() for place in places},
            },
            **{field: first(form, field).strip() for field in fields if field in form},
        )

    async def _page(
        self,
        visit: Visit,
        owner: str,
        name: str,
        *,
        done: str = "",
        warnings: Sequence[str] = (),
        error: BlobdError | None = None,
    ) -> web.Response:
        try:
            package = await find_package(self._catalog, owner, name)
            word = "Org" if package.owner_kind == ORGANISATION else "User"
            path = {"owner": package.owner, "name": package.name}
            access = await self._actions.shape(visit, f"get{word}Access", path)
            deleted = await self._actions.entries(
                visit, f"list{word}Versions", path, state="deleted"
            )
        except (NotFound, NameInvalid):
            return missing(visit)
        except PermissionDenied as forbidden:
            return page(visit, "failed.html", status=403, error=forbidden)
        return page(
            visit,
            "settings.html",
            status=200 if error is None else answer_for(error).status,
            facts=SettingsFacts(package),
            view="settings",
            access=access,
            deleted=deleted,
            done=done,
            warnings=warnings,
            error=error,
            unpublish_minutes=int(UNPUBLISH_WITHIN_S // 60),
        )
