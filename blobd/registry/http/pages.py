"""`/packages` and `/settings`: pages for people, as far as each visitor may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from blobd.errors import BlobdError
from blobd.http.answers import UNEXPECTED, answer_for, error_response
from blobd.http.errors import Unauthenticated
from blobd.http.headers import PUBLIC_FOR_GOOD
from blobd.registry.catalog.accounts import membership
from blobd.registry.catalog.packages import Listing
from blobd.registry.http.page_lists import PER_PAGE, page_number, paging, search_text
from blobd.registry.http.visits import missing, page
from blobd.registry.identity.accounts import find_account
from blobd.registry.packages.browse import list_owners
from blobd.registry.packages.manage import list_packages
from blobd.registry.pages import render
from blobd.registry.pages.view_models import HomeFacts, OwnerFacts

if TYPE_CHECKING:
    from blobd.database import Catalog
    from blobd.http.routes import Handler, Routes
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog.accounts import Account
    from blobd.registry.http.account_pages import AccountPages
    from blobd.registry.http.owner_settings import OwnerSettings
    from blobd.registry.http.package_pages import PackagePages
    from blobd.registry.http.package_settings import PackageSettings
    from blobd.registry.http.sign_in import SignIn
    from blobd.registry.http.token_pages import TokenPages
    from blobd.registry.http.visits import Visits

SETTINGS = "/settings"
_OWNERS_MAX = 100


def is_page(path: str) -> bool:
    """Return whether a path is one of the pages' own."""
    return path in {"/", render.ROOT} or path.startswith((f"{render.ROOT}/", f"{SETTINGS}/"))


class PageRoutes:
    """Handlers of what is not about one package, and the table of all pages."""

    def __init__(self, catalog: Catalog, visits: Visits) -> None:
        self._catalog = catalog
        self._visits = visits

    def add_to(
        self,
        routes: Routes,
        packages: PackagePages,
        sign_in: SignIn,
        settings: PackageSettings,
        owners: OwnerSettings,
        tokens: TokenPages,
        users: AccountPages,
        organisations: AccountPages,
    ) -> None:
        """Add all paths. No name has `-` as a part, so what is behind it is no package."""
        root = render.ROOT
        package = rf"{root}/(?P<owner>[^/]+)/(?P<name>.+)"
        file = rf"{root}/-/(?P<tag>[0-9a-f]+)/(?P<file>[a-z.]+)"
        version = rf"{package}/-/versions/(?P<which>[^/]+)"
        routes.add("page_root", r"/", GET=self.root, HEAD=self.root)
        routes.add("page_file", file, GET=self.file, HEAD=self.file)
        self._add(routes, "page_sign_in", rf"{root}/-/sign-in", sign_in.form, sign_in.sign_in)
        self._add(routes, "page_sign_out", rf"{root}/-/sign-out", None, sign_in.sign_out)
        self._add(routes, "page_tokens", rf"{SETTINGS}/tokens/?", tokens.list, tokens.revoke)
        self._add(routes, "page_new_token", rf"{SETTINGS}/tokens/new", tokens.form, tokens.create)
        self._add(routes, "page_users", rf"{SETTINGS}/users/?", users.show, users.change)
        self._add(
            routes,
            "page_organisations",
            rf"{SETTINGS}/organisations/?",
            organisations.show,
            organisations.change,
        )
        self._add(
            routes,
            "page_owner_settings",
            rf"{root}/(?P<owner>[^/]+)/-/settings",
            owners.show,
            owners.change,
        )
        self._add(routes, "page_home", rf"{root}/?", self.home)
        self._add(routes, "page_owner", rf"{root}/(?P<owner>[^/]+)/?", self.owner)
        self._add(routes, "page_settings", rf"{package}/-/settings", settings.show, settings.change)
        self._add(routes, "page_version", version, packages.version)
        self._add(routes, "page_versions", rf"{package}/-/versions/?", packages.versions)
        self._add(routes, "page_package", package, packages.tags)

    def _add(
        self,
        routes: Routes,
        name: str,
        path: str,
        get: Handler | None,
        post: Handler | None = None,
    ) -> None:
        handlers: dict[str, Handler] = {}
        if get is not None:
            handlers["GET"] = handlers["HEAD"] = self._around(get)
        if post is not None:
            handlers["POST"] = self._around(post)
        routes.add(name, path, raw=False, **handlers)

    def _around(self, handler: Handler) -> Handler:
        """Redirect from the registry's address to the pages' own, and show errors as pages."""

        async def handle(request: web.BaseRequest, **arguments: str) -> web.StreamResponse:
            elsewhere = self._visits.pages_elsewhere(request)
            if elsewhere is not None:
                place = f"{elsewhere}{request.rel_url.raw_path_qs}"
                return web.Response(status=308, headers={**render.HEADERS, "Location": place})
            try:
                return await handler(request, **arguments)
            except BlobdError as error:
                if isinstance(error, Unauthenticated) or answer_for(error) is UNEXPECTED:
                    raise
                return self._failed(request, error)

        return handle

    def _failed(self, request: web.BaseRequest, error: BlobdError) -> web.Response:
        answer = error_response(error)
        visit = self._visits.nobody(request)
        response = page(visit, "failed.html", status=answer.status, error=error)
        if "Retry-After" in answer.headers:
            response.headers["Retry-After"] = answer.headers["Retry-After"]
        return response

    async def root(self, request: web.BaseRequest) -> web.StreamResponse:
        """What this address is, for people and for load balancers that want a 200 of `/`.

        It reads no credential and no database: what is ready is for `/readyz` to say.
        """
        return page(self._visits.nobody(request), "root.html")

    async def file(self, request: web.BaseRequest, tag: str, file: str) -> web.StreamResponse:  # noqa: ARG002
        """A style sheet or a script, by its content's tag."""
        found = render.asset(file)
        if found is None or found.tag != tag:
            return web.Response(status=404, headers=dict(render.HEADERS))
        headers = {
            **render.HEADERS,
            "Cache-Control": PUBLIC_FOR_GOOD,
            "Content-Type": found.media_type,
        }
        return web.Response(body=found.content, headers=headers)

    async def home(self, request: web.BaseRequest) -> web.StreamResponse:
        """The owners and packages that a visitor may read, and a search among them."""
        visit = await self._visits.visit(request)
        number, text = page_number(request), search_text(request)
        wanted = _listing(number, text)
        found, total = await list_packages(self._catalog, visit.subject, wanted)
        owners = await list_owners(self._catalog, visit.subject, limit=_OWNERS_MAX + 1)
        facts = HomeFacts(
            owners=owners[:_OWNERS_MAX],
            more_owners=len(owners) > _OWNERS_MAX,
            packages=found,
            total=total,
            text=text,
            paging=paging(number, total, q=text),
        )
        return page(visit, "home.html", home=facts)

    async def owner(self, request: web.BaseRequest, owner: str) -> web.StreamResponse:
        """An account's packages, as far as the visitor may read them; 404 where none may be."""
        visit = await self._visits.visit(request)
        number, text = page_number(request), search_text(request)
        account = await find_account(self._catalog, owner)
        if account is None:
            return missing(visit)
        _, all_of_them = await list_packages(
            self._catalog, visit.subject, Listing(owner=owner, limit=1)
        )
        belongs = await self._belongs(visit.subject, account)
        if all_of_them == 0 and not belongs:
            return missing(visit)
        found, total = await list_packages(
            self._catalog, visit.subject, _listing(number, text, owner=owner)
        )
        facts = OwnerFacts(
            owner=account.name,
            kind=account.kind,
            packages=found,
            text=text,
            paging=paging(number, total, q=text),
            has_settings=visit.may_send_forms and belongs,
        )
        return page(visit, "owner.html", owner=facts)

    async def _belongs(self, subject: Subject, account: Account) -> bool:
        """Return whether an account is a visitor's own, or an organisation's that it is in.

        Administrators belong everywhere: they see even accounts without a package.
        """
        person = subject.person_id
        if person is None:
            return subject.is_administrator
        if subject.is_administrator or person == account.account_id:
            return True
        role = await self._catalog.read(
            lambda transaction: membership(transaction, account.account_id, person)
        )
        return role is not None


def _listing(number: int, text: str, *, owner: str | None = None) -> Listing:
    offset = (number - 1) * PER_PAGE
    return Listing(owner=owner, text=text, offset=offset, limit=PER_PAGE)
