"""`blobd scrub`: reading all stored blobs and hashing them."""

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from blobd.cli import show
from blobd.cli.opened import opened
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config


@click.command(short_help="Read and hash all stored blobs; quarantine what is damaged.")
@with_config()
@click.option(
    "--older-than-s",
    type=click.FloatRange(min=0),
    default=0,
    help="Pass over what was verified within so many seconds.",
)
@click.option(
    "--bytes-per-s", type=click.IntRange(min=1), help="Read so fast at most; no bound without it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scrub(config: Config, older_than_s: float, bytes_per_s: int | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Read every stored blob that the catalog knows and hash it against its digest.

    Works beside running daemons; what was verified longest ago comes first, and what has been read
    is remembered, so a scrub that was stopped goes on with --older-than-s. Ends with exit code 1
    where damage was found.
    """
    summary = asyncio.run(_scrub(config, older_than_s, bytes_per_s or math.inf))
    if as_json:
        show.as_json(summary)
    else:
        show.table(
            ("damaged blob", "damage"),
            ((each["digest"], each["damage"]) for each in summary["damaged"]),
        )
        show.table(
            ("blobs", "bytes read"), [(str(summary["blobs"]), show.size(summary["read_bytes"]))]
        )
    if summary["damaged"]:
        raise SystemExit(1)


async def _scrub(config: Config, older_than_s: float, bytes_per_s: float) -> dict[str, Any]:
    blobs = read_bytes = 0
    damaged = []
    show_progress = sys.stderr.isatty()
    async with opened(config) as daemon:
        run = daemon.scrub.run(older_than_s=older_than_s, bytes_per_s=bytes_per_s)
        async with aclosing(run) as each:
            async for scrubbed in each:
                blobs += 1
                read_bytes += scrubbed.read_bytes
                if scrubbed.damage is not None:
                    damaged.append(
                        {"digest": str(scrubbed.digest), "damage": scrubbed.damage.value}
                    )
                if show_progress:
                    click.echo(f"\r{blobs} blobs, {show.size(read_bytes)}", nl=False, err=True)
    if show_progress:
        click.echo(err=True)
    return {"blobs": blobs, "read_bytes": read_bytes, "damaged": damaged}
