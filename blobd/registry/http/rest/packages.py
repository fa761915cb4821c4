"""GitHub's calls: packages and versions of an organisation, a user, or the caller."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from blobd.registry.auth.roles import DELETE_PACKAGES, Action, Visibility
from blobd.registry.catalog import versions
from blobd.registry.catalog.accounts import ORGANISATION, USER
from blobd.registry.catalog.packages import Listing
from blobd.registry.errors import NotFound
from blobd.registry.http.rest.operation import Call, Done, Field, Operation, Page
from blobd.registry.http.rest.serializers import Serializer
from blobd.registry.packages.manage import list_packages, list_versions
from blobd.registry.packages.trash import Trash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.versions import Version
    from blobd.registry.http.rest.context import RestContext

PREFIXES = (
    ("/orgs/{owner}", ORGANISATION, "Org"),
    ("/users/{owner}", USER, "User"),
    ("/user", USER, "Own"),
)
"""Under which paths packages are, of what kind of account, and how operations there are called."""
_TYPE = Field("`container`: there are no others here.", choices=("container",), required=True)
_STATE = Field("Which versions.", choices=("active", "deleted"))
_WHICH = Field("Which packages.", choices=tuple(map(str, Visibility)))

_FORCE = Field(
    "`true`: although indexes of the package list it. Pulls through these fail from then on.",
    choices=("true", "false"),
)


class PackageCalls:
    """Handlers. `kind` and `owner` say whose packages; an empty owner: the caller's."""

    def __init__(self, context: RestContext, *, trash_retention_s: float) -> None:
        self._context = context
        self._trash_retention_s = trash_retention_s

    def operations(self) -> Iterator[Operation]:
        """Yield all operations."""
        for prefix, kind, word in PREFIXES:
            yield from self._under(prefix, kind, word)

    def _under(self, prefix: str, kind: str, word: str) -> Iterator[Operation]:
        at = f"{prefix}/packages"
        one = f"{at}/container/{{name}}"
        version = f"{one}/versions/{{version_id}}"
        yield Operation(
            f"list{word}Packages",
            "GET",
            at,
            "List packages",
            partial(self.list_packages, kind),
            "PackageList",
            pages=True,
            query={"package_type": _TYPE, "visibility": _WHICH, "state": _STATE},
        )
        yield Operation(
            f"get{word}Package", "GET", one, "Get a package", partial(self.get, kind), "Package"
        )
        yield Operation(
            f"delete{word}Package",
            "DELETE",
            one,
            "Delete a package",
            partial(self.delete, kind),
            scope=DELETE_PACKAGES,
        )
        yield Operation(
            f"restore{word}Package",
            "POST",
            f"{one}/restore",
            "Restore a package that was deleted",
            partial(self.restore, kind),
            query={"token": Field("Accepted and ignored.", most=255)},
        )
        yield Operation(
            f"list{word}Versions",
            "GET",
            f"{one}/versions",
            "List the versions of a package, the newest first",
            partial(self.list_versions, kind),
            "VersionList",
            pages=True,
            query={"state": _STATE},
        )
        yield Operation(
            f"get{word}Version",
            "GET",
            version,
            "Get a version",
            partial(self.get_version, kind),
            "Version",
        )
        yield Operation(
            f"delete{word}Version",
            "DELETE",
            version,
            "Delete a version with its tags",
            partial(self.delete_version, kind),
            scope=DELETE_PACKAGES,
            query={"force": _FORCE},
        )
        yield Operation(
            f"restore{word}Version",
            "POST",
            f"{version}/restore",
            "Restore a version that was deleted",
            partial(self.restore_version, kind),
        )
        yield Operation(
            f"list{word}Conflicts",
            "GET",
            f"{prefix}/docker/conflicts",
            "List packages in the way of a migration, of which there are none",
            partial(self.conflicts, kind),
            "PackageList",
        )

    async def list_packages(
        self,
        kind: str,
        call: Call,
        owner: str = "",
        *,
        package_type: str,  # noqa: ARG002 there is one
        visibility: str | None = None,
        state: str = "active",
    ) -> Page:
        name = await self._context.owner(call, kind, owner)
        found, total = await list_packages(
            call.catalog,
            call.caller.subject,
            Listing(
                owner=name,
                visibility=visibility,
                deleted=state == "deleted",
                offset=call.offset,
                limit=call.per_page,
            ),
        )
        return Page(await self._context.write_packages(call, found), total)

    async def get(self, kind: str, call: Call, name: str, owner: str = "") -> dict[str, Any]:
        package = await self._package(kind, call, owner, name, Action.READ)
        (shape,) = await self._context.write_packages(call, [package])
        return shape

    async def delete(self, kind: str, call: Call, name: str, owner: str = "") -> None:
        package = await self._package(kind, call, owner, name, Action.DELETE, empty=True)
        await self._trash(call).delete_package(package.package_id, call.caller.subject)
        self._context.note(call, "delete", package)

    async def restore(
        self,
        kind: str,
        call: Call,
        name: str,
        owner: str = "",
        *,
        token: str = "",  # noqa: ARG002 GitHub's
    ) -> None:
        package = await self._package(kind, call, owner, name, Action.ADMINISTER, deleted=True)
        await self._trash(call).restore_package(package.package_id)
        self._context.note(call, "restore", package)

    async def list_versions(
        self, kind: str, call: Call, name: str, owner: str = "", *, state: str = "active"
    ) -> Page:
        package = await self._package(
            kind, call, owner, name, Action.READ, empty=state == "deleted"
        )
        found, total = await list_versions(
            call.catalog,
            package.package_id,
            deleted=state == "deleted",
            offset=call.offset,
            limit=call.per_page,
        )
        shapes = Serializer(call.base_url)
        return Page([shapes.version(package, each) for each in found], total)

    async def get_version(
        self, kind: str, call: Call, name: str, version_id: str, owner: str = ""
    ) -> dict[str, Any]:
        package = await self._package(kind, call, owner, name, Action.READ)
        version = await _version(call, package, version_id, deleted=False)
        return Serializer(call.base_url).version(package, version)

    async def delete_version(
        self,
        kind: str,
        call: Call,
        name: str,
        version_id: str,
        owner: str = "",
        *,
        force: str = "false",
    ) -> Done:
        package = await self._package(kind, call, owner, name, Action.DELETE)
        version = await _version(call, package, version_id, deleted=False)
        breaks = await self._trash(call).delete_version(
            package.package_id, version.digest, call.caller.subject, force=force == "true"
        )
        self._context.note(call, "delete", package, str(version.digest))
        return Done(breaks)

    async def restore_version(
        self, kind: str, call: Call, name: str, version_id: str, owner: str = ""
    ) -> None:
        package = await self._package(kind, call, owner, name, Action.ADMINISTER, empty=True)
        version = await _version(call, package, version_id, deleted=True)
        await self._trash(call).restore_version(package.package_id, version.version_id)
        self._context.note(call, "restore", package, str(version.digest))

    async def conflicts(self, kind: str, call: Call, owner: str = "") -> Any:
        await self._context.owner(call, kind, owner)
        return []

    def _trash(self, call: Call) -> Trash:
        return Trash(call.catalog, self._trash_retention_s)

    async def _package(
        self,
        kind: str,
        call: Call,
        owner: str,
        name: str,
        action: Action,
        *,
        deleted: bool = False,
        empty: bool = False,
    ) -> Package:
        package = await self._context.package(
            call, owner, name, action, deleted=deleted, empty=empty
        )
        if owner and package.owner_kind != kind:
            raise NotFound("package", f"{owner}/{name}")
        return package


async def _version(call: Call, package: Package, text: str, *, deleted: bool) -> Version:
    unknown = NotFound("version", text[:40])
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise unknown
    found = await call.catalog.read(
        lambda transaction: versions.find_version(transaction, package.package_id, int(text))
    )
    if found is None or (found.deleted_at is not None) is not deleted:
        raise unknown
    return found
