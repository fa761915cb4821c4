"""What GitHub offers only in its web UI: access to a package, and its tags."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from blobd.errors import Refused
from blobd.registry.auth.roles import DELETE_PACKAGES, Action, Role, Visibility
from blobd.registry.errors import NotForWorkflows
from blobd.registry.http.rest.operation import Call, Changed, Field, Kind, Operation
from blobd.registry.http.rest.packages import PREFIXES
from blobd.registry.identity.rights import has_source_role
from blobd.registry.identity.tokens import WORKFLOW_KINDS
from blobd.registry.names import parse_name, parse_tag
from blobd.registry.packages import manage
from blobd.registry.tags import delete_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.roles import GivenRole
    from blobd.registry.http.rest.context import RestContext

ROLE = Field("What it may do.", choices=("read", "write", "admin"), required=True)
_SOURCE = Field("The source repository, as OWNER/NAME.", required=True, most=201)


class ManageCalls:
    """Handlers; all but reading access ask for the role admin."""

    def __init__(self, context: RestContext, *, allow_unpublish: bool) -> None:
        self._context = context
        self._allow_unpublish = allow_unpublish

    def operations(self) -> Iterator[Operation]:
        """Yield all operations."""
        for prefix, _, word in PREFIXES:
            yield from self._under(f"{prefix}/packages/container/{{name}}", word)

    def _under(self, at: str, word: str) -> Iterator[Operation]:
        yield Operation(
            f"change{word}Package",
            "PATCH",
            at,
            "Change a package's visibility and its rules for tags and indexes",
            self.change,
            "Package",
            body={
                "visibility": Field("Who can read it.", choices=tuple(map(str, Visibility))),
                "immutable_tags": Field("Whether a tag stays.", Kind.BOOLEAN),
                "sparse_indexes": Field(
                    "Whether indexes are taken without the manifests that they list.", Kind.BOOLEAN
                ),
            },
        )
        yield Operation(
            f"get{word}Access", "GET", f"{at}/access", "Get access", self.access, "Access"
        )
        yield Operation(
            f"set{word}AccessMode",
            "PUT",
            f"{at}/access/mode",
            "Inherit roles from the linked source repository, or not; shows which roles that ends",
            self.set_mode,
            "Overwritten",
            body={
                "inherits": Field("Whether it inherits.", Kind.BOOLEAN, required=True),
                "dry_run": Field("Only show.", Kind.BOOLEAN),
            },
        )
        role = f"{at}/access/roles/{{grantee}}"
        yield Operation(
            f"set{word}Role",
            "PUT",
            role,
            "Give a user or a team (ORGANISATION%2FTEAM) a role",
            self.set_role,
            body={"role": ROLE},
        )
        yield Operation(
            f"remove{word}Role",
            "DELETE",
            role,
            "Take a role away",
            partial(self.set_role, role="none"),
        )
        grant = f"{at}/access/workflows/{{source}}/{{kind}}"
        yield Operation(
            f"set{word}Grant",
            "PUT",
            grant,
            "Let a source repository's (OWNER%2FNAME) workflows do something",
            self.set_grant,
            body={
                "role": ROLE,
                "may_publish": Field(
                    "Whether they may make it public or internal, too.", Kind.BOOLEAN
                ),
            },
        )
        yield Operation(
            f"remove{word}Grant",
            "DELETE",
            grant,
            "Take that away",
            partial(self.set_grant, role="none"),
        )
        link = f"{at}/repository"
        yield Operation(
            f"link{word}Package",
            "PUT",
            link,
            "Link a package to a source repository; that gives nobody rights",
            self.link,
            body={"repository": _SOURCE},
        )
        yield Operation(
            f"unlink{word}Package",
            "DELETE",
            link,
            "End the link, and what that repository's workflows were granted",
            partial(self.link, repository=None),
        )
        yield Operation(
            f"delete{word}Tag",
            "DELETE",
            f"{at}/tags/{{tag}}",
            "Delete one tag; its version stays",
            self.delete_tag,
            scope=DELETE_PACKAGES,
        )

    async def change(
        self,
        call: Call,
        name: str,
        owner: str = "",
        *,
        visibility: str | None = None,
        immutable_tags: bool | None = None,
        sparse_indexes: bool | None = None,
    ) -> Changed:
        package = await self._administered(call, owner, name)
        warnings: tuple[str, ...] = ()
        if visibility is not None:
            if visibility != Visibility.PRIVATE:
                await call.demand(manage.publishes(package))
            if visibility != Visibility.PUBLIC:
                await self._context.write_pulls()
            elif package.visibility != Visibility.PUBLIC and not self._allow_unpublish:
                warnings = (manage.PUBLISH_WARNING,)
            await manage.set_visibility(
                call.catalog,
                package.package_id,
                Visibility(visibility),
                allow_unpublish=self._allow_unpublish,
            )
            self._context.note(call, "visibility", package, visibility)
        if immutable_tags is not None:
            await manage.set_immutable_tags(
                call.catalog, package.package_id, immutable=immutable_tags
            )
            self._context.note(call, "immutable_tags", package, str(immutable_tags).lower())
        if sparse_indexes is not None:
            await manage.set_sparse_indexes(
                call.catalog, package.package_id, allowed=sparse_indexes
            )
            self._context.note(call, "sparse_indexes", package, str(sparse_indexes).lower())
        changed = await self._context.package(call, owner, name, Action.ADMINISTER)
        (shape,) = await self._context.write_packages(call, [changed])
        return Changed(shape, warnings)

    async def access(self, call: Call, name: str, owner: str = "") -> dict[str, Any]:
        package = await self._administered(call, owner, name)
        roles = await manage.list_roles(call.catalog, package.package_id)
        grants = await manage.list_grants(call.catalog, package.package_id)
        return {
            "visibility": package.visibility,
            "inherits": package.inherits,
            "repository": package.source,
            "roles": _roles(roles),
            "workflows": [
                {
                    "repository": grant.source,
                    "kind": grant.kind,
                    "role": grant.role,
                    "may_publish": grant.may_publish,
                }
                for grant in grants
            ],
        }

    async def set_mode(
        self, call: Call, name: str, owner: str = "", *, inherits: bool, dry_run: bool = False
    ) -> dict[str, Any]:
        package = await self._governed(call, owner, name)
        overwritten = await manage.set_inherits(
            call.catalog,
            package.package_id,
            inherits=inherits,
            dry_run=dry_run,
        )
        if not dry_run:
            self._context.note(call, "inherit", package, str(inherits).lower())
        return {
            "inherits": package.inherits if dry_run else inherits,
            "overwritten": {
                "visibility": overwritten.visibility,
                "roles": _roles(overwritten.roles),
            },
        }

    async def set_role(
        self, call: Call, name: str, grantee: str, owner: str = "", *, role: str
    ) -> None:
        package = await self._governed(call, owner, name)
        given = Role.NONE if role == "none" else Role.parse(role)
        await manage.set_role(call.catalog, package.package_id, grantee, given)
        self._context.note(call, "grant", package, f"{grantee} {role}")

    async def set_grant(
        self,
        call: Call,
        name: str,
        source: str,
        kind: str,
        owner: str = "",
        *,
        role: str,
        may_publish: bool = False,
    ) -> None:
        package = await self._governed(call, owner, name)
        given = Role.NONE if role == "none" else Role.parse(role)
        if kind in WORKFLOW_KINDS:
            await call.demand(has_source_role(source, Role.READ))
        await manage.set_grant(
            call.catalog, package.package_id, source, kind, given, may_publish=may_publish
        )
        publish = " may_publish" if may_publish else ""
        self._context.note(call, "grant", package, f"{source} {kind} {role}{publish}")

    async def link(self, call: Call, name: str, owner: str = "", *, repository: str | None) -> None:
        package = await self._governed(call, owner, name)
        if repository is not None:
            await call.demand(has_source_role(repository, Role.READ))
        await manage.link(call.catalog, package.package_id, repository)
        self._context.note(call, "link", package, repository or "none")

    async def delete_tag(self, call: Call, name: str, tag: str, owner: str = "") -> None:
        package = await self._context.package(call, owner, name, Action.DELETE)
        if package.immutable_tags:
            raise Refused("the tags of this package are immutable; delete the version instead")
        await delete_tag(call.catalog, parse_name(package.repository), parse_tag(tag))
        self._context.note(call, "untag", package, tag)

    async def _administered(self, call: Call, owner: str, name: str) -> Package:
        return await self._context.package(call, owner, name, Action.ADMINISTER)

    async def _governed(self, call: Call, owner: str, name: str) -> Package:
        """Return a package whose access the caller, a person, can manage."""
        package = await self._administered(call, owner, name)
        if call.caller.subject.workflow is not None:
            raise NotForWorkflows(package.repository, "only people manage access to it")
        return package


def _roles(roles: Sequence[GivenRole]) -> list[dict[str, Any]]:
    return [
        {
            "kind": given.kind,
            "name": given.name,
            "role": given.role,
            "inherited": given.inherited,
        }
        for given in roles
    ]
