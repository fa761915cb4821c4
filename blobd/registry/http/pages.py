"""`/packages`: pages for people, as far as each visitor may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from blobd.errors import LoginNeeded, NameInvalid, NameUnknown, Unauthenticated, Unknown
from blobd.registry.auth.roles import Action
from blobd.registry.catalog.packages import Listing
from blobd.registry.identity.accounts import find_account
from blobd.registry.names import fold_account, parse_name
from blobd.registry.packages.manage import find_package, list_packages, list_versions
from blobd.registry.pages import render
from blobd.registry.pages.facts import OwnerFacts, PackageFacts, PackageRow, VersionRow
from blobd.wire.headers import PUBLIC_FOR_GOOD

if TYPE_CHECKING:
    from blobd.digest import Digest
    from blobd.registry.catalog import Catalog
    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.versions import Version
    from blobd.registry.http.guard import Guard
    from blobd.registry.identity.gate import Gate
    from blobd.registry.identity.identify import Caller
    from blobd.wire.origin import Origins
    from blobd.wire.routes import Handler, Routes

_PER_PAGE = 30
_PAGE_MAX_DIGITS = 7
_CHALLENGE = 'Basic realm="blobd packages", charset="UTF-8"'


def is_page(path: str) -> bool:
    """Return whether a path is one of the pages' own."""
    return path in {"/", render.ROOT} or path.startswith(f"{render.ROOT}/")


class PageRoutes:
    """Handlers of pages."""

    def __init__(self, catalog: Catalog, gate: Gate, guard: Guard, origins: Origins) -> None:
        self._catalog = catalog
        self._gate = gate
        self._guard = guard
        self._origins = origins

    def add_to(self, routes: Routes) -> None:
        """Add all paths."""
        root = render.ROOT
        for name, path, handler in (
            ("page_root", r"/", self.root),
            ("page_home", rf"{root}/?", self._at_their_address(self.home)),
            ("page_file", rf"{root}/-/(?P<tag>[0-9a-f]+)/(?P<file>[a-z.]+)", self.file),
            ("page_owner", rf"{root}/(?P<owner>[^/]+)/?", self._at_their_address(self.owner)),
            (
                "page_package",
                rf"{root}/(?P<owner>[^/]+)/(?P<name>.+)",
                self._at_their_address(self.package),
            ),
        ):
            routes.add(name, path, GET=handler, HEAD=handler)

    def _at_their_address(self, handler: Handler) -> Handler:
        """Send who asks for a page at the registry's address to the pages' own, if there is one."""

        async def handle(request: web.BaseRequest, **arguments: str) -> web.StreamResponse:
            elsewhere = self._origins.pages_elsewhere(request)
            if elsewhere is None:
                return await handler(request, **arguments)
            place = f"{elsewhere}{request.rel_url.raw_path_qs}"
            return web.Response(status=308, headers={**render.HEADERS, "Location": place})

        return handle

    async def root(self, request: web.BaseRequest) -> web.StreamResponse:
        """What this address is, for people and for load balancers that want a 200 of `/`.

        It reads no credential and no database: what is ready is for `/readyz` to say.
        """
        return _page(render.render_root(host=self._host(request), closed=not self._gate.is_open))

    async def home(self, request: web.BaseRequest) -> web.StreamResponse:
        """Where to sign in; a browser asks for the password when it is told to here."""
        caller = await self._caller(request)
        name = caller.subject.name
        if not name and "login" in request.query and not self._gate.is_open:
            error = LoginNeeded("this page")
            error.challenge = _CHALLENGE
            raise error
        if name:
            place = f"{render.ROOT}/{name}"
            return web.Response(status=303, headers={**render.HEADERS, "Location": place})
        return _page(render.render_home(host=self._host(request), visitor=""))

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

    async def owner(self, request: web.BaseRequest, owner: str) -> web.StreamResponse:
        """An account's packages, as far as the visitor may read them; 404 where none may be."""
        caller = await self._caller(request)
        page = _number(request)
        account = await find_account(self._catalog, owner)
        if account is None:
            return self._missing(request, caller)
        wanted = Listing(owner=owner, offset=(page - 1) * _PER_PAGE, limit=_PER_PAGE)
        found, total = await list_packages(self._catalog, caller.subject, wanted)
        own = caller.subject.name == account.name
        if total == 0 and not own:
            return self._missing(request, caller)
        facts = OwnerFacts(
            owner=account.name,
            kind=account.kind,
            packages=[_package_row(package) for package in found],
            page=page,
            pages=_pages(total),
        )
        html = render.render_owner(facts, host=self._host(request), visitor=caller.subject.name)
        return _page(html)

    async def package(self, request: web.BaseRequest, owner: str, name: str) -> web.StreamResponse:
        """A package with its versions; 404 alike for what is not there and what is not for them."""
        caller = await self._caller(request)
        try:
            repository = parse_name(f"{fold_account(owner)}/{name}")
            package = await find_package(self._catalog, owner, name)
            await self._gate.decide(caller, repository, Action.READ)
            if package.version_count == 0:
                return self._missing(request, caller)
        except (NameInvalid, NameUnknown, Unknown, LoginNeeded):
            return self._missing(request, caller)
        page = _number(request)

        found, total = await list_versions(
            self._catalog, package.package_id, offset=(page - 1) * _PER_PAGE, limit=_PER_PAGE
        )
        facts = _package_facts(package, found, page=page, pages=_pages(total))
        html = render.render_package(facts, host=self._host(request), visitor=caller.subject.name)
        return _page(html)

    async def _caller(self, request: web.BaseRequest) -> Caller:
        """Return who visits. A wrong password is asked for again, never taken for none."""
        try:
            return await self._gate.caller(self._guard.knock(request))
        except Unauthenticated as error:
            error.challenge = _CHALLENGE
            raise

    def _missing(self, request: web.BaseRequest, caller: Caller) -> web.Response:
        html = render.render_missing(host=self._host(request), visitor=caller.subject.name)
        return _page(html, status=404)

    def _host(self, request: web.BaseRequest) -> str:
        return self._origins.host(request)


def _page(html: str, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status, text=html, content_type="text/html", headers=dict(render.HEADERS)
    )


def _number(request: web.BaseRequest) -> int:
    """Return which page is asked for; what is no number is the first."""
    text = request.query.get("page", "1")
    if not text.isascii() or not text.isdigit() or len(text) > _PAGE_MAX_DIGITS:
        return 1
    return max(int(text), 1)


def _pages(total: int) -> int:
    return max(1, -(-total // _PER_PAGE))


def _package_row(package: Package) -> PackageRow:
    return PackageRow(
        name=package.name,
        visibility=package.visibility,
        description=package.description,
        downloads=package.downloads,
        updated_at=package.updated_at,
    )


def _part_of(version: Version) -> list[str | Digest]:
    names: list[str | Digest] = []
    for parent in version.parents:
        names += parent.tags or [parent.digest]
    return names


def _package_facts(
    package: Package, found: list[Version], *, page: int, pages: int
) -> PackageFacts:
    return PackageFacts(
        owner=package.owner,
        name=package.name,
        visibility=package.visibility,
        description=package.description,
        licences=package.licences,
        source_url=package.source_url,
        downloads=package.downloads,
        version_count=package.version_count,
        versions=[
            VersionRow(
                digest=version.digest,
                tags=version.tags,
                platforms=version.platforms,
                artifact_type=version.artifact_type,
                size_bytes=version.size_bytes,
                pushed_at=version.created_at,
                downloads=version.downloads,
                part_of=_part_of(version),
                children=version.children,
            )
            for version in found
        ],
        page=page,
        pages=pages,
    )
