"""`blobd du` and `blobd gc`, on the store itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config
    from blobd.upkeep.gc import Verdict

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(short_help="Remove blobs that nobody holds, and say why.")
@with_config()
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; remove nothing.")
@_JSON
def gc(config: Config, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove blobs that nobody holds any more, and say for each candidate why it stays or goes.

    Candidates are blobs of which a hold has ended: a link was removed, a push broke off, the blob
    API's DELETE, or no manifest named the blob for upkeep.unnamed_link_grace_s. Safe beside a
    running daemon, which does the same every upkeep.gc_interval_s.
    """
    verdicts = asyncio.run(_collect(config, dry_run=dry_run))
    if as_json:
        show.as_json(
            [
                {
                    "digest": str(verdict.digest),
                    "size_bytes": verdict.size_bytes,
                    "goes": verdict.goes,
                    "reasons": verdict.reasons,
                }
                for verdict in verdicts
            ]
        )
        return
    going = [verdict for verdict in verdicts if verdict.goes]
    if verdicts:
        show.table(
            ("", "blob", "size", "why"),
            (
                (
                    "goes" if verdict.goes else "stays",
                    str(verdict.digest),
                    show.size(verdict.size_bytes),
                    "; ".join(verdict.reasons),
                )
                for verdict in verdicts
            ),
        )
    what = "would be removed" if dry_run else "removed"
    freed = show.size(sum(verdict.size_bytes for verdict in going))
    click.echo(f"{len(going)} of {len(verdicts)} candidates {what}, {freed}")


async def _collect(config: Config, *, dry_run: bool) -> list[Verdict]:
    from blobd.app import open_daemon
    from blobd.upkeep.gc import collect

    async with open_daemon(config) as daemon:
        return [
            verdict
            async for verdict in collect(
                daemon.roots, daemon.store, daemon.metrics, dry_run=dry_run
            )
        ]
