"""The pages of one package: its tags, its versions, and each version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Action, Role
from blobd.registry.catalog.accounts import ORGANISATION
from blobd.registry.errors import LoginNeeded, NameInvalid, NameUnknown, NotFound, PermissionDenied
from blobd.registry.http.page_lists import PER_PAGE, page_number, paging, search_text
from blobd.registry.http.visits import missing, page
from blobd.registry.names import fold_account, parse_name
from blobd.registry.packages.browse import (
    BY_VERSION,
    ORDERS,
    describe_version,
    find_tags,
    find_warned,
)
from blobd.registry.packages.manage import find_package, list_versions
from blobd.registry.pages.view_models import TagsFacts, VersionFacts, VersionsFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from blobd.database import Catalog
    from blobd.registry.catalog.packages import Package
    from blobd.registry.http.page_actions import Actions
    from blobd.registry.http.visits import Visit, Visits
    from blobd.registry.identity.authorizer import Authorizer
    from blobd.threads import Threads


@dataclass(frozen=True, slots=True)
class _Seen:
    """A package that a visitor may read."""

    package: Package
    is_admin: bool
    may_change: bool
    """Whether forms that change it are for the visitor."""


class PackagePages:
    """Handlers. Each answers 404 alike for what is not there and what is not for the visitor."""

    def __init__(
        self,
        catalog: Catalog,
        threads: Threads,
        authorizer: Authorizer,
        visits: Visits,
        actions: Actions,
    ) -> None:
        self._catalog = catalog
        self._threads = threads
        self._authorizer = authorizer
        self._visits = visits
        self._actions = actions

    async def tags(self, request: web.BaseRequest, owner: str, name: str) -> web.StreamResponse:
        """A package with its tags, and for its admins the access to it."""
        visit = await self._visits.visit(request)
        found = await self._find(visit, owner, name)
        if found is None:
            return missing(visit)
        package = found.package
        number, text = page_number(request), search_text(request)
        order = request.query.get("sort", BY_VERSION)
        if order not in ORDERS:
            order = BY_VERSION
        tags = await find_tags(
            self._catalog,
            self._threads,
            package.package_id,
            text=text,
            order=order,
            offset=(number - 1) * PER_PAGE,
            limit=PER_PAGE,
        )
        kept = "" if order == BY_VERSION else order
        facts = TagsFacts(
            package=package,
            tags=tags,
            text=text,
            order=order,
            paging=paging(number, tags.total, q=text, sort=kept),
            administers=found.may_change,
            access=await self._access(visit, found),
            warned=await find_warned(self._catalog, package.package_id) if found.is_admin else (),
        )
        return page(visit, "tags.html", facts=facts, view="tags")

    async def versions(self, request: web.BaseRequest, owner: str, name: str) -> web.StreamResponse:
        """A package with all its versions, tagged or not."""
        visit = await self._visits.visit(request)
        found = await self._find(visit, owner, name)
        if found is None:
            return missing(visit)
        package = found.package
        number = page_number(request)
        shown, total = await list_versions(
            self._catalog, package.package_id, offset=(number - 1) * PER_PAGE, limit=PER_PAGE
        )
        facts = VersionsFacts(package, shown, paging(number, total), found.may_change)
        return page(visit, "versions.html", facts=facts, view="versions")

    async def version(
        self, request: web.BaseRequest, owner: str, name: str, which: str
    ) -> web.StreamResponse:
        """One version, by its number or its digest."""
        visit = await self._visits.visit(request)
        found = await self._find(visit, owner, name)
        if found is None:
            return missing(visit)
        package = found.package
        detail = await describe_version(self._catalog, package.package_id, which)
        if detail is None:
            return missing(visit)
        facts = VersionFacts(package, detail, found.may_change, found.is_admin)
        return page(visit, "version.html", facts=facts, view="versions")

    async def _find(self, visit: Visit, owner: str, name: str) -> _Seen | None:
        """Return a package that the visitor may read."""
        try:
            repository = parse_name(f"{fold_account(owner)}/{name}")
            package = await find_package(self._catalog, owner, name)
            access = await self._authorizer.decide(visit.caller, repository, Action.READ)
        except (NameInvalid, NameUnknown, NotFound, LoginNeeded):
            return None
        if package.version_count == 0:
            return None
        is_admin = access.role >= Role.ADMIN
        return _Seen(package, is_admin, may_change=is_admin and visit.may_send_forms)

    async def _access(self, visit: Visit, seen: _Seen) -> Mapping[str, object] | None:
        """Return the access as the API shows it; None where the visitor cannot see it."""
        if not (seen.is_admin and self._visits.closed):
            return None
        package = seen.package
        word = "Org" if package.owner_kind == ORGANISATION else "User"
        path = {"owner": package.owner, "name": package.name}
        try:
            return await self._actions.shape(visit, f"get{word}Access", path)
        except (PermissionDenied, LoginNeeded, NotFound):
            return None
