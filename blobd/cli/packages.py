"""`blobd package`: settings of packages that administrators change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.accounts import JSON, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config
    from blobd.registry.catalog import Catalog
    from blobd.registry.catalog.packages import Package

_PACKAGE = click.argument("full_name", metavar="OWNER/NAME")


@click.group
def package() -> None:
    """Show and change settings of packages. Works beside a running daemon."""


@package.command("show")
@with_config()
@_PACKAGE
@JSON
def show_package(config: Config, full_name: str, as_json: bool) -> None:  # noqa: FBT001
    """Show a package's settings."""
    found = on_catalog(config, lambda catalog: _find(catalog, full_name))
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
@_PACKAGE
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

    async def change(catalog: Catalog) -> None:
        package_id = (await _find(catalog, full_name)).package_id
        if immutable_tags is not None:
            await manage.set_immutable_tags(catalog, package_id, immutable=immutable_tags)
        if sparse_indexes is not None:
            await manage.set_sparse_indexes(catalog, package_id, allowed=sparse_indexes)

    changes = {"immutable_tags": immutable_tags, "sparse_indexes": sparse_indexes}
    said = " ".join(
        f"{name}={_yes_no(value)}" for name, value in changes.items() if value is not None
    )
    on_catalog(config, change, noted=f"package set {full_name} {said}")


async def _find(catalog: Catalog, full_name: str) -> Package:
    from blobd.registry.packages.manage import find_package

    owner, _, name = full_name.partition("/")
    return await find_package(catalog, owner, name)


def _yes_no(value: bool) -> str:  # noqa: FBT001
    return "yes" if value else "no"
