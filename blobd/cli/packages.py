"""`blobd package`: packages, their settings and their visibility."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON, PACKAGE
from blobd.cli.opened import change, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config
    from blobd.database import Catalog
    from blobd.registry.auth.roles import Visibility
    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.versions import Version

_VISIBILITY = click.Choice(["private", "internal", "public"])
_PAGE = 500
"""How many packages or versions are read in one transaction."""


@click.group
def package() -> None:
    """List, show, change and delete packages, by the rules of the REST API.

    Works beside a running daemon; what is changed is in the audit as the operator's.
    """


@package.command("ls")
@with_config()
@click.option("--owner", help="Of this account alone.")
@click.option("--visibility", type=_VISIBILITY, help="With this visibility alone.")
@click.option("--deleted", is_flag=True, help="Those that were deleted and can be restored.")
@JSON
def list_packages(
    config: Config,
    owner: str | None,
    visibility: str | None,
    deleted: bool,  # noqa: FBT001 - click's way
    as_json: bool,  # noqa: FBT001
) -> None:
    """List packages by owner and name. What has no version is not listed."""

    async def find(catalog: Catalog) -> list[Package]:
        from blobd.registry.auth.subjects import EVERYONE
        from blobd.registry.catalog.packages import Listing
        from blobd.registry.packages import manage

        found: list[Package] = []
        while True:
            wanted = Listing(owner, visibility, deleted, offset=len(found), limit=_PAGE)
            page, _ = await manage.list_packages(catalog, EVERYONE, wanted)
            found += page
            if len(page) < _PAGE:
                return found

    found = on_catalog(config, find)
    if as_json:
        show.as_json([_document(each) for each in found])
        return
    when = "deleted" if deleted else "updated"
    show.table(
        ("package", "visibility", "repository", "versions", "downloads", when),
        (
            (
                full_name_of(each),
                each.visibility,
                each.source or "",
                str(each.version_count),
                str(each.downloads),
                show.moment(each.deleted_at or each.updated_at),
            )
            for each in found
        ),
    )


@package.command("versions")
@with_config()
@PACKAGE
@click.option("--deleted", is_flag=True, help="Those that were deleted and can be restored.")
@JSON
def list_versions(config: Config, full_name: str, deleted: bool, as_json: bool) -> None:  # noqa: FBT001
    """List the versions of a package, the newest first."""

    async def find(catalog: Catalog) -> list[Version]:
        from blobd.registry.packages import manage

        package_id = (await find_package(catalog, full_name)).package_id
        found: list[Version] = []
        while True:
            page, _ = await manage.list_versions(
                catalog, package_id, deleted=deleted, offset=len(found), limit=_PAGE
            )
            found += page
            if len(page) < _PAGE:
                return found

    found = on_catalog(config, find)
    if as_json:
        show.as_json(
            [
                {
                    "id": each.version_id,
                    "digest": str(each.digest),
                    "tags": each.tags,
                    "size_bytes": each.size_bytes,
                    "downloads": each.downloads,
                    "created_at": show.moment(each.created_at),
                    "deleted_at": None if each.deleted_at is None else show.moment(each.deleted_at),
                }
                for each in found
            ]
        )
        return
    show.table(
        ("id", "digest", "tags", "size", "downloads", "created"),
        (
            (
                str(each.version_id),
                str(each.digest),
                " ".join(each.tags),
                show.size(each.size_bytes),
                str(each.downloads),
                show.moment(each.created_at),
            )
            for each in found
        ),
    )


@package.command("show")
@with_config()
@PACKAGE
@JSON
def show_package(config: Config, full_name: str, as_json: bool) -> None:  # noqa: FBT001
    """Show a package's settings."""
    found = on_catalog(config, lambda catalog: find_package(catalog, full_name))
    row = (
        found.visibility,
        _yes_no(found.immutable_tags),
        _yes_no(found.sparse_indexes),
        found.source or "",
    )
    headers = ("visibility", "immutable tags", "sparse indexes", "repository")
    show.records(headers, [row], as_json=as_json)


@package.command("set")
@with_config()
@PACKAGE
@click.option(
    "--immutable-tags/--mutable-tags",
    "immutable_tags",
    default=None,
    help="Whether a tag stays with the manifest it was given to.",
)
@click.option(
    "--sparse-indexes/--whole-indexes",
    "sparse_indexes",
    default=None,
    help="Whether indexes are taken without the manifests that they list.",
)
def set_package(
    config: Config,
    full_name: str,
    immutable_tags: bool | None,  # noqa: FBT001
    sparse_indexes: bool | None,  # noqa: FBT001
) -> None:
    """Change settings of a package; what is not named stays."""
    from blobd.registry.packages import manage

    if immutable_tags is None and sparse_indexes is None:
        raise click.UsageError("name a setting to change, such as --sparse-indexes")

    async def change_settings(catalog: Catalog) -> None:
        package_id = (await find_package(catalog, full_name)).package_id
        if immutable_tags is not None:
            await manage.set_immutable_tags(catalog, package_id, immutable=immutable_tags)
        if sparse_indexes is not None:
            await manage.set_sparse_indexes(catalog, package_id, allowed=sparse_indexes)

    changes = {"immutable_tags": immutable_tags, "sparse_indexes": sparse_indexes}
    said = " ".join(
        f"{name}={_yes_no(value)}" for name, value in changes.items() if value is not None
    )
    change(
        config,
        change_settings,
        noted=f"package set {full_name} {said}",
        said=f"{full_name}: {said}",
        package=full_name,
    )


@package.command("visibility")
@with_config()
@PACKAGE
@click.argument("visibility", type=_VISIBILITY)
@click.option("--yes", is_flag=True, help="Do make it public, whatever that entails.")
def set_visibility(config: Config, full_name: str, visibility: str, yes: bool) -> None:  # noqa: FBT001
    """Change who can read a package without a role.

    `private`: nobody. `internal`: every account. `public`: everyone, without a login; this
    needs --yes, for what was public can be hidden again only within ten minutes, and only while
    nobody has pulled it, unless registry.allow_unpublish is set.
    """
    from blobd.registry.auth.roles import Visibility
    from blobd.registry.packages import manage

    entails = "everyone can pull the package now, without a login"
    if not config.registry.allow_unpublish:
        entails = manage.PUBLISH_WARNING
    wanted = Visibility(visibility)
    if wanted is Visibility.PUBLIC and not yes:
        raise click.UsageError(f"with --yes {entails}")
    change(
        config,
        partial(
            _set_visibility,
            full_name,
            wanted,
            allow_unpublish=config.registry.allow_unpublish,
        ),
        noted=f"package visibility {full_name} {visibility}",
        said=f"{full_name} is public: {entails}"
        if wanted is Visibility.PUBLIC
        else f"{full_name} is {visibility}",
        package=full_name,
    )


async def find_package(catalog: Catalog, full_name: str, *, deleted: bool = False) -> Package:
    """Return the package OWNER/NAME; of deleted ones the last of its name. Raises NotFound."""
    from blobd.registry.packages import manage

    owner, _, name = full_name.partition("/")
    return await manage.find_package(catalog, owner, name, deleted=deleted)


def full_name_of(found: Package) -> str:
    """Return OWNER/NAME."""
    return f"{found.owner}/{found.name}"


async def _set_visibility(
    full_name: str, visibility: Visibility, catalog: Catalog, *, allow_unpublish: bool
) -> None:
    from blobd.registry.packages import manage

    package_id = (await find_package(catalog, full_name)).package_id
    await manage.set_visibility(catalog, package_id, visibility, allow_unpublish=allow_unpublish)


def _document(found: Package) -> dict[str, object]:
    return {
        "package": full_name_of(found),
        "visibility": found.visibility,
        "repository": found.source,
        "inherits": found.inherits,
        "versions": found.version_count,
        "downloads": found.downloads,
        "created_at": show.moment(found.created_at),
        "updated_at": show.moment(found.updated_at),
        "deleted_at": None if found.deleted_at is None else show.moment(found.deleted_at),
    }


def _yes_no(value: bool) -> str:  # noqa: FBT001
    return "yes" if value else "no"
