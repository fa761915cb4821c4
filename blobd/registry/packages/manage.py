"""What admins change of a package: who may read it, who may do what, what it is linked to.

A package either has roles and a visibility of its own or inherits both from the source repository
it is linked to. A change from one to the other overwrites what was there, and says what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.errors import Refused, RequestInvalid, Unknown
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog import packages, sources, versions
from blobd.registry.catalog.roles import PACKAGE_ROLES, SOURCE_ROLES
from blobd.registry.identity.grantees import change_role
from blobd.registry.identity.sources import known_source
from blobd.registry.identity.tokens import WORKFLOW_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog import Catalog, Transaction
    from blobd.registry.catalog.packages import Grant, Listing, Package
    from blobd.registry.catalog.roles import GivenRole
    from blobd.registry.catalog.versions import Version


@dataclass(frozen=True, slots=True)
class Overwritten:
    """What a change of mode has replaced, or would replace."""

    visibility: str
    roles: Sequence[GivenRole]


async def find_package(
    catalog: Catalog, owner: str, name: str, *, deleted: bool = False
) -> Package:
    """Return a package; of deleted ones the last of its name. Raises Unknown."""
    found = await catalog.read(
        lambda transaction: packages.find_package(transaction, owner, name, deleted=deleted)
    )
    if found is None:
        raise Unknown("package", f"{owner}/{name}")
    return found


async def list_packages(
    catalog: Catalog, subject: Subject, wanted: Listing
) -> tuple[list[Package], int]:
    """Return the packages that a subject may read, by name, and how many there are in all."""

    def find(transaction: Transaction) -> tuple[list[Package], int]:
        total = packages.count_packages(transaction, subject, wanted)
        return packages.list_packages(transaction, subject, wanted), total

    return await catalog.read(find)


async def list_versions(
    catalog: Catalog, package_id: int, *, deleted: bool = False, offset: int, limit: int
) -> tuple[list[Version], int]:
    """Return versions, the newest first, and how many there are in all."""

    def find(transaction: Transaction) -> tuple[list[Version], int]:
        found = versions.list_versions(
            transaction, package_id, deleted=deleted, offset=offset, limit=limit
        )
        return found, versions.count_versions(transaction, package_id, deleted=deleted)

    return await catalog.read(find)


async def set_visibility(
    catalog: Catalog, package_id: int, visibility: Visibility, *, allow_unpublish: bool
) -> None:
    """Say who may read a package without a role. Raises Unknown, Refused."""

    def change(transaction: Transaction) -> None:
        package = _own(transaction, package_id)
        _check_published(package, visibility, allow_unpublish=allow_unpublish)
        packages.change_package(transaction, package_id, visibility=str(visibility))

    await catalog.write(change)


async def set_role(catalog: Catalog, package_id: int, grantee: str, role: Role) -> None:
    """Give a user or a team (ORGANISATION/TEAM) a role; NONE takes it away.

    Raises Unknown, Refused.
    """

    def change(transaction: Transaction) -> None:
        _own(transaction, package_id)
        change_role(transaction, PACKAGE_ROLES, package_id, grantee, role)

    await catalog.write(change)


async def list_roles(catalog: Catalog, package_id: int) -> list[GivenRole]:
    """Return the roles in effect: its own, or those of the source repository it inherits from."""

    def find(transaction: Transaction) -> list[GivenRole]:
        return _roles(transaction, _known(transaction, package_id))

    return await catalog.read(find)


async def link(catalog: Catalog, package_id: int, source: str | None) -> None:
    """Link a package to a source repository (OWNER/NAME), or to none.

    Nobody's rights change. Raises Unknown; Refused for one that inherits.
    """

    def change(transaction: Transaction) -> None:
        package = _locked(transaction, package_id)
        if package.inherits:
            raise Refused("the package inherits from its source repository; end that first")
        source_id = None
        if source is not None:
            source_id = known_source(transaction, source).source_id
        packages.change_package(transaction, package_id, source_id=source_id)

    await catalog.write(change)


async def set_inherits(
    catalog: Catalog,
    package_id: int,
    *,
    inherits: bool,
    allow_unpublish: bool,
    dry_run: bool = False,
) -> Overwritten:
    """Let a package inherit roles and visibility, or have its own; return what that overwrites.

    One that ends to inherit keeps the visibility it had, and has no roles. `dry_run` changes
    nothing. Raises Unknown, Refused.
    """

    def change(transaction: Transaction) -> Overwritten:
        package = _locked(transaction, package_id)
        before = Overwritten(package.visibility, _roles(transaction, package))
        if inherits == package.inherits:
            return Overwritten(package.visibility, ())
        if not inherits:
            if not dry_run:
                packages.change_package(
                    transaction, package_id, inherits=False, visibility=package.visibility
                )
            return before
        if package.source_id is None:
            raise Refused("the package is linked to no source repository; link it first")
        source = sources.get_source(transaction, package.source_id)
        if source is None:
            raise Unknown("source repository", str(package.source))
        after = Visibility(source.visibility)
        _check_published(package, after, allow_unpublish=allow_unpublish)
        if not dry_run:
            PACKAGE_ROLES.take_all(transaction, package_id)
            packages.change_package(transaction, package_id, inherits=True)
        return before

    return await catalog.write(change)


async def set_grant(catalog: Catalog, package_id: int, source: str, kind: str, role: Role) -> None:
    """Let a source repository's workflows of a kind do something; NONE takes it away.

    Raises Unknown, RequestInvalid.
    """
    if kind not in WORKFLOW_KINDS:
        raise RequestInvalid(f"a workflow's kind is one of {', '.join(WORKFLOW_KINDS)}")

    def change(transaction: Transaction) -> None:
        _locked(transaction, package_id)
        source_id = known_source(transaction, source).source_id
        if role is not Role.NONE:
            packages.set_grant(transaction, package_id, source_id, kind, str(role))
        elif not packages.delete_grant(transaction, package_id, source_id, kind):
            raise Unknown("grant", f"of {source}")

    await catalog.write(change)


async def list_grants(catalog: Catalog, package_id: int) -> list[Grant]:
    """Return what workflows may do with a package."""
    return await catalog.read(lambda transaction: packages.list_grants(transaction, package_id))


async def set_immutable_tags(catalog: Catalog, package_id: int, *, immutable: bool) -> None:
    """Say whether a tag stays with the manifest it was given to. Raises Unknown."""

    def change(transaction: Transaction) -> None:
        _locked(transaction, package_id)
        packages.change_package(transaction, package_id, immutable_tags=immutable)

    await catalog.write(change)


async def set_sparse_indexes(catalog: Catalog, package_id: int, *, allowed: bool) -> None:
    """Say whether indexes are taken without the manifests that they list. Raises Unknown."""

    def change(transaction: Transaction) -> None:
        _locked(transaction, package_id)
        packages.change_package(transaction, package_id, sparse_indexes=allowed)

    await catalog.write(change)


def _locked(transaction: Transaction, package_id: int) -> Package:
    packages.lock_package(transaction, package_id)
    return _known(transaction, package_id)


def _known(transaction: Transaction, package_id: int) -> Package:
    package = packages.get_package(transaction, package_id)
    if package is None or package.deleted_at is not None:
        raise Unknown("package", str(package_id))
    return package


def _own(transaction: Transaction, package_id: int) -> Package:
    """Return a package that has roles and a visibility of its own."""
    package = _locked(transaction, package_id)
    if package.inherits:
        raise Refused(
            f"the package inherits from {package.source or 'a source repository that is gone'}; "
            "change it there, or end that first"
        )
    return package


def _roles(transaction: Transaction, package: Package) -> list[GivenRole]:
    if not package.inherits:
        return PACKAGE_ROLES.list(transaction, package.package_id)
    if package.source_id is None:
        return []
    return SOURCE_ROLES.list(transaction, package.source_id)


def _check_published(package: Package, after: Visibility, *, allow_unpublish: bool) -> None:
    unpublished = package.visibility == Visibility.PUBLIC and after is not Visibility.PUBLIC
    if unpublished and not allow_unpublish:
        raise Refused(
            "what is public stays public: others rely on it; only where the operator sets "
            "registry.allow_unpublish can it be hidden again"
        )
