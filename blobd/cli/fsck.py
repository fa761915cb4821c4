"""`blobd fsck`: all that is stored against all that says so."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import opened
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blobd.config import Config
    from blobd.registry.fsck import Found

_DAMAGED, _LEFT_OVER = 1, 3


@click.command(short_help="Compare all that is stored with all that says so.")
@with_config()
@click.option(
    "--repair",
    is_flag=True,
    help="Quarantine damaged blobs, so that the next push heals them; remove what crashes left; "
    "hand over to garbage collection what nobody holds.",
)
@click.option(
    "--collect-unnamed",
    is_flag=True,
    help="Hand bytes that the catalog does not know over to garbage collection, which removes "
    "them. Not after the catalog was restored from a backup that is older than they are.",
)
@JSON
def fsck(config: Config, repair: bool, collect_unnamed: bool, as_json: bool) -> None:  # noqa: FBT001
    """Cross-check everything stored against its records. Works beside running daemons.

    Looks at lengths and names; `blobd scrub` reads the bytes. Younger than upkeep.orphan_grace_s,
    nothing counts as left behind. Ends with exit code 0 where all fits together, 1 where pulls
    fail (missing, size, quarantined, link, manifest), and 3 where something is left over.
    """
    found, counts, remaining = asyncio.run(_compare(config, repair, collect_unnamed, as_json))
    if as_json:
        show.as_json({"counts": counts, "found": found})
    elif counts:
        click.echo(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    if remaining["damage"]:
        raise SystemExit(_DAMAGED)
    if remaining["leftover"]:
        raise SystemExit(_LEFT_OVER)


async def _compare(
    config: Config,
    repair: bool,  # noqa: FBT001
    collect_unnamed: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> tuple[list[dict[str, Any]], Counter[str], Counter[str]]:
    """Print what is found, or return it for a script; return counts by kind, and what remains."""
    from blobd.registry.fsck import Fsck
    from blobd.registry.packages.activity import note_operator

    kept: list[dict[str, Any]] = []
    counts, remaining = Counter[str](), Counter[str]()
    async with opened(config) as daemon:
        fsck = Fsck(
            daemon.catalog,
            daemon.references,
            daemon.store,
            daemon.quarantine,
            daemon.clock.now,
            grace_s=config.upkeep.orphan_grace_s,
            repair=repair,
            collect_unnamed=collect_unnamed,
        )
        with _bar(await fsck.count()) as progress:
            async with aclosing(fsck.run(progress)) as each:
                async for found in each:
                    counts[found.kind] += 1
                    if found.remains:
                        remaining["damage" if found.is_damage else "leftover"] += 1
                    if as_json:
                        kept.append(asdict(found))
                    else:
                        click.echo(_line(found))
        if repair or collect_unnamed:
            said = " ".join(f"{kind}={count}" for kind, count in sorted(counts.items()))
            await note_operator(daemon.catalog, f"fsck {said or 'nothing'}")
    return kept, counts, remaining


def _line(found: Found) -> str:
    size = "" if found.size_bytes is None else f", {show.size(found.size_bytes)}"
    done = f": {found.done}" if found.done else ""
    return f"{found.kind} {found.name}{size}{done}"


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar on standard error while the block runs, if it is a terminal."""
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.completed:,} of {task.total:,} blobs"),
        progress.BarColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
