"""What admins change of a package: visibility, access, link and rules.

A package has roles and a visibility of its own. It may inherit roles from the source repository
that it is linked to; then those that were given on the package itself end, but for its maker's.
Visibility is never inherited. A link alone gives nobody anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blobd.errors import Refused
from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog import packages, versions
from blobd.registry.catalog.roles import PACKAGE_ROLES, SOURCE_ROLES, Principal
from blobd.registry.errors import NotForWorkflows, NotFound
from blobd.registry.identity.principals import change_role
from blobd.registry.identity.sources import known_source
from blobd.registry.identity.tokens import WORKFLOW_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog.packages import Grant, Listing, Package
    from blobd.registry.catalog.roles import GivenRole
    from blobd.registry.catalog.versions import Version
    from blobd.registry.identity.rights import Right

UNPUBLISH_WITHIN_S = 600.0
"""How long a published package can be hidden again, if it was not pulled."""

PUBLISH_WARNING = (
    "everyone can pull the package now, without a login; that cannot be undone once it has been "
    f"pulled, or after {UNPUBLISH_WITHIN_S / 60:.0f} minutes"
)


@dataclass(frozen=True, slots=True)
class Overwritten:
    """What a change of mode has replaced, or would replace."""

    visibility: str
    """As it was; it stays."""
    roles: Sequence[GivenRole]


async def find_package(
    catalog: Catalog, owner: str, name: str, *, deleted: bool = False
) -> Package:
    """Return a package; of deleted ones the last of its name. Raises NotFound."""
    found = await catalog.read(
        lambda transaction: packages.find_package(transaction, owner, name, deleted=deleted)
    )
    if found is None:
        raise NotFound("package", f"{owner}/{name}")
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
    """Change who can read a package without a role.

    What was made public can be hidden again within `UNPUBLISH_WITHIN_S`, unless it was
    pulled meanwhile; later only where the operator allows that. Raises NotFound, Refused.
    """
    now = catalog.now()

    def change(transaction: Transaction) -> None:
        package = _locked(transaction, package_id)
        values: dict[str, object] = {"visibility": str(visibility)}
        if visibility is not Visibility.PUBLIC:
            if package.visibility == Visibility.PUBLIC and not allow_unpublish:
                _check_unpublished(transaction, package, now=now)
            values["published_at"] = None
        elif package.visibility != Visibility.PUBLIC:
            values["published_at"] = now
        packages.change_package(transaction, package_id, **values)

    await catalog.write(change)


async def set_role(catalog: Catalog, package_id: int, grantee: str, role: Role) -> None:
    """Give a user or a team (ORGANISATION/TEAM) a role; NONE takes it away.

    Raises NotFound; Refused for giving one on a package that inherits.
    """

    def change(transaction: Transaction) -> None:
        package = _locked(transaction, package_id)
        if role is not Role.NONE:
            _check_own(package)
        change_role(transaction, PACKAGE_ROLES, package_id, grantee, role)

    await catalog.write(change)


async def list_roles(catalog: Catalog, package_id: int) -> list[GivenRole]:
    """Return the roles in effect: its own, and those of the source repository it inherits from."""

    def find(transaction: Transaction) -> list[GivenRole]:
        return _roles(transaction, _known(transaction, package_id))

    return await catalog.read(find)


async def link(catalog: Catalog, package_id: int, source: str | None) -> None:
    """Link a package to a source repository (OWNER/NAME), or to none.

    A link gives nobody rights. The workflows of the source repository that it was linked to lose
    what they were granted. Raises NotFound; Refused for one that inherits.
    """

    def change(transaction: Transaction) -> None:
        package = _locked(transaction, package_id)
        if package.inherits:
            raise Refused("the package inherits from its source repository; end that first")
        source_id = None
        if source is not None:
            source_id = known_source(transaction, source).source_id
        if package.source_id not in {None, source_id}:
            packages.take_grants(transaction, package_id, package.source_id)
        packages.change_package(transaction, package_id, source_id=source_id)

    await catalog.write(change)


async def set_inherits(
    catalog: Catalog,
    package_id: int,
    *,
    inherits: bool,
    dry_run: bool = False,
) -> Overwritten:
    """Let a package inherit roles, or have its own alone; return which roles that ends.

    One that begins to inherit keeps the role of its maker, and the source repository's workflows
    get what a publisher's have. Visibility and workflows' grants stay when it ends. `dry_run`
    changes nothing. Raises NotFound, Refused.
    """

    def change(transaction: Transaction) -> Overwritten:
        package = _locked(transaction, package_id)
        if inherits == package.inherits:
            return Overwritten(package.visibility, ())
        if not inherits:
            ended = [given for given in _roles(transaction, package) if given.inherited]
            if not dry_run:
                packages.change_package(transaction, package_id, inherits=False)
            return Overwritten(package.visibility, ended)
        if package.source_id is None:
            raise Refused("the package is linked to no source repository; link it first")
        maker = packages.creator(transaction, package_id)
        keeps = None if maker is None else Principal("user", maker)
        ended = PACKAGE_ROLES.list(transaction, package_id, but=keeps)
        if not dry_run:
            PACKAGE_ROLES.take_all(transaction, package_id, but=keeps)
            packages.change_package(transaction, package_id, inherits=True)
            packages.grant_to_linked(transaction, package_id, package.source_id)
        return Overwritten(package.visibility, ended)

    return await catalog.write(change)


def publishes(package: Package) -> Right:
    """Return the right to publish, which admins have, and of workflows those whose grant says so.

    Raises NotForWorkflows.
    """

    def right(transaction: Transaction, subject: Subject) -> None:
        workflow = subject.workflow
        if workflow is None or packages.may_publish(transaction, package.package_id, workflow):
            return
        raise NotForWorkflows(
            package.repository,
            "an admin may make it public or internal, or let the workflow, by `may_publish` in its "
            "grant (PUT …/access/workflows/OWNER%2FNAME/KIND)",
        )

    return right


async def set_grant(
    catalog: Catalog,
    package_id: int,
    source: str,
    kind: str,
    role: Role,
    *,
    may_publish: bool = False,
) -> None:
    """Let a source repository's workflows of a kind do something; NONE takes it away.

    `may_publish`: admins among them may make the package public or internal too. Raises NotFound,
    RequestInvalid.
    """
    if kind not in WORKFLOW_KINDS:
        raise RequestInvalid(f"a workflow's kind is one of {', '.join(WORKFLOW_KINDS)}")

    def change(transaction: Transaction) -> None:
        _locked(transaction, package_id)
        source_id = known_source(transaction, source).source_id
        if role is not Role.NONE:
            packages.set_grant(
                transaction, package_id, source_id, kind, str(role), may_publish=may_publish
            )
        elif not packages.delete_grant(transaction, package_id, source_id, kind):
            raise NotFound("grant", f"of {source}")

    await catalog.write(change)


async def list_grants(catalog: Catalog, package_id: int) -> list[Grant]:
    """Return what workflows may do with a package."""
    return await catalog.read(lambda transaction: packages.list_grants(transaction, package_id))


async def set_immutable_tags(catalog: Catalog, package_id: int, *, immutable: bool) -> None:
    """Say whether a tag stays with the manifest it was given to. Raises NotFound."""

    def change(transaction: Transaction) -> None:
        _locked(transaction, package_id)
        packages.change_package(transaction, package_id, immutable_tags=immutable)

    await catalog.write(change)


async def set_sparse_indexes(catalog: Catalog, package_id: int, *, allowed: bool) -> None:
    """Say whether indexes are taken without the manifests that they list. Raises NotFound."""

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
        raise NotFound("package", str(package_id))
    return package


def _check_own(package: Package) -> None:
    """Raise Refused for a package whose roles are those of its source repository."""
    if package.inherits:
        raise Refused(
            f"the package inherits from {package.source or 'a source repository that is gone'}; "
            "change it there, or end that first"
        )


def _roles(transaction: Transaction, package: Package) -> list[GivenRole]:
    own = PACKAGE_ROLES.list(transaction, package.package_id)
    if not package.inherits or package.source_id is None:
        return own
    inherited = SOURCE_ROLES.list(transaction, package.source_id)
    return own + [replace(given, inherited=True) for given in inherited]


def _check_unpublished(transaction: Transaction, package: Package, *, now: float) -> None:
    """Raise Refused unless a package was published moments ago and was not pulled."""
    published_at = packages.published_at(transaction, package.package_id)
    since = "" if published_at is None else f" {now - published_at:.0f} s ago"
    if published_at is None or now - published_at > UNPUBLISH_WITHIN_S:
        why = f"it was made public{since or ' long ago'}"
    elif versions.last_pull(transaction, package.package_id) >= published_at:
        why = "it has been pulled since"
    else:
        return
    raise Refused(
        "what is public stays public: others rely on it. It can be hidden again within "
        f"{UNPUBLISH_WITHIN_S:.0f} s unless it was pulled, and {why}; only where the "
        "operator sets registry.allow_unpublish can it be hidden later"
    )
