"""`blobd package audit-links`: what labels gave away before labels gave no rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import change, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.config import Config
    from blobd.database import Catalog


@click.command("audit-links")
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

    settled = "--undo" if undo else "--keep" if keep else ""
    if settled:
        noted = " ".join(("package audit-links", settled, *names))
        findings = change(config, look, noted=noted, said=None)
    else:
        findings = on_catalog(config, look)
    rows = [
        (
            finding.package,
            finding.source,
            " ".join(finding.got),
            finding.visibility,
            "yes" if finding.deleted else "no",
        )
        for finding in findings
    ]
    headers = ("package", "repository", "got", "visibility", "deleted")
    show.records(headers, rows, as_json=as_json)
    if settled and not as_json:
        click.echo(f"{len(rows)} packages {'undone' if undo else 'kept'}")
