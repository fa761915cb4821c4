"""`blobd fsck`: all that is stored against all that says so."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.opened import opened
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.backends.base import Orphan
    from blobd.config import Config


@click.command(short_help="Find what crashes have left, and damaged blobs.")
@with_config()
@click.option("--remove", is_flag=True, help="Remove what nobody can need any more.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fsck(config: Config, remove: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Compare all that is stored with all that says so. Works beside running daemons.

    Younger than upkeep.orphan_grace_s, nothing counts as left behind. A damaged blob is told, and
    never removed. Ends with exit code 1 where a blob is damaged.
    """
    found = asyncio.run(_find(config, remove=remove))
    if as_json:
        show.as_json([asdict(orphan) for orphan in found])
    else:
        show.table(
            ("kind", "what", "bytes", ""),
            (
                (
                    orphan.kind,
                    orphan.name,
                    "" if orphan.size_bytes is None else show.size(orphan.size_bytes),
                    "removed" if orphan.removed else "",
                )
                for orphan in found
            ),
        )
    if any(orphan.kind == "blob" for orphan in found):
        raise SystemExit(1)


async def _find(config: Config, *, remove: bool) -> list[Orphan]:
    async with opened(config) as daemon:
        backend = daemon.store.backend
        return [orphan async for orphan in backend.orphans(deep=True, remove=remove)]
