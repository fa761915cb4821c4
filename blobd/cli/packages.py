"""`blobd package`: settings of packages that administrators change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.accounts import JSON, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.config import Config
    from blobd.database import Catalog
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


@package.command("audit-links")
@with_config()
@click.argument("names", metavar="[OWNER/NAME]...", nargs=-1)
@click.option(
    "--undo", is_flag=True, help="Take it away: unlinked, private, no grants of those workflows."
)
@click.option("--keep", is_flag=True, help="Leave it as it is, and list it no more.")
@JSON
def audit_links(
    config: Config,
    names: tuple[str, ...],
    undo: bool,  # noqa: FBT001
    keep: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """List what packages got by labels before labels gave no rights.

    `link`: to a source repository of another owner, or of which the maker is no admin. `roles`,
    `workflows`: what those of that repository may do. `visibility`: wider than private, inherited.
    Without names, of all packages.
    """
    from blobd.registry.packages import label_audit

    if undo and keep:
        raise click.UsageError("either --undo or --keep")

    async def look(catalog: Catalog) -> Sequence[label_audit.Finding]:
        await label_audit.review_links(catalog)
        if undo or keep:
            return await label_audit.settle_findings(catalog, names, undo=undo)
        found = await label_audit.list_findings(catalog)
        return [finding for finding in found if not names or finding.package in names]

    word = "--undo" if undo else "--keep"
    noted = " ".join(("package audit-links", word, *names)) if undo or keep else ""
    rows = [
        (
            finding.package,
            finding.source,
            " ".join(finding.got),
            finding.visibility,
            _yes_no(finding.deleted),
        )
        for finding in on_catalog(config, look, noted=noted)
    ]
    headers = ("package", "repository", "got", "visibility", "deleted")
    show.records(headers, rows, as_json=as_json)
    if (undo or keep) and not as_json:
        click.echo(f"{len(rows)} packages {'undone' if undo else 'kept'}")


async def _find(catalog: Catalog, full_name: str) -> Package:
    from blobd.registry.packages.manage import find_package

    owner, _, name = full_name.partition("/")
    return await find_package(catalog, owner, name)


def _yes_no(value: bool) -> str:  # noqa: FBT001
    return "yes" if value else "no"
