"""What handlers of the API ask again and again: whose account, which package, and noting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blobd.registry.catalog import sources
from blobd.registry.errors import NameInvalid, NotFound
from blobd.registry.http.rest.serializers import Serializer
from blobd.registry.identity.accounts import find_account
from blobd.registry.identity.rights import may
from blobd.registry.names import RepositoryName, fold_account, parse_name
from blobd.registry.packages.manage import find_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.database import Catalog
    from blobd.registry.auth.roles import Action
    from blobd.registry.catalog.packages import Package
    from blobd.registry.http.package_events import PackageEvents
    from blobd.registry.http.rest.operation import Call


class RestContext:
    """One per process."""

    def __init__(self, catalog: Catalog, work: PackageEvents) -> None:
        self._catalog = catalog
        self._work = work

    async def owner(self, call: Call, kind: str, owner: str) -> str:
        """Return the account that a path names. Raises NotFound."""
        name = owner or call.caller.subject.name
        found = await find_account(self._catalog, name)
        if found is None or (owner and found.kind != kind):
            raise NotFound(kind, name)
        return found.name

    async def package(
        self,
        call: Call,
        owner: str,
        name: str,
        action: Action,
        *,
        deleted: bool = False,
        empty: bool = False,
    ) -> Package:
        """Return a package that the caller may do this with; `empty`: even without a version.

        That right is demanded of the call. Raises NotFound, alike for what is not there and what
        may not be read; PermissionDenied.
        """
        full_name = f"{owner or call.caller.subject.name}/{name}"
        unknown = NotFound("package", full_name)
        owner = fold_account(owner or call.caller.subject.name)
        try:
            repository = parse_name(f"{owner}/{name}")
            found = await find_package(self._catalog, owner, name, deleted=deleted)
            if deleted:
                repository = found.repository
            await call.demand(may(action, repository, full_name))
            if found.version_count == 0 and not (deleted or empty):
                raise unknown
        except (NameInvalid, NotFound):
            raise unknown from None
        return found

    async def write_packages(self, call: Call, found: Sequence[Package]) -> list[dict[str, Any]]:
        """Return packages as JSON, with the source repositories that they are linked to."""
        ids = {package.source_id for package in found if package.source_id is not None}
        linked = {}
        if ids:
            linked = await self._catalog.read(
                lambda transaction: sources.get_sources(transaction, ids)
            )
        shapes = Serializer(call.base_url)
        return [
            shapes.package(
                package, None if package.source_id is None else linked.get(package.source_id)
            )
            for package in found
        ]

    async def write_pulls(self) -> None:
        """Have the downloads that this process has noted written."""
        await self._work.write_pulls()

    def note(
        self, call: Call, action: str, package: Package | str | None, detail: str | None = None
    ) -> None:
        """Note what the caller did."""
        name = package if isinstance(package, str) or package is None else _name(package)
        self._work.note(call.request, call.caller.subject, action, name, None, detail)


def _name(package: Package) -> str:
    return RepositoryName(f"{package.owner}/{package.name}")
