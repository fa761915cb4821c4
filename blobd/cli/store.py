"""`blobd du`, `blobd gc` and `blobd adopt-store`, on the store itself."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import opened
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config
    from blobd.references.collection import CollectionResult
    from blobd.references.usage import Usage


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is in the store."""

    blobs: int
    stored_bytes: int
    uploads: int
    staged_bytes: int


@click.command(short_help="Show what is stored, and what storing it once saves.")
@with_config()
@JSON
def du(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Show the bytes that are stored against the bytes that are held.

    Every repository, and the blob API, counts what it holds for itself (logical); equal bytes are
    stored once. Stored bytes that nobody holds wait for garbage collection.
    """
    stored, usage = asyncio.run(_measure(config))
    unheld_bytes = max(stored.stored_bytes - usage.held_bytes, 0)
    if as_json:
        show.as_json(
            {
                **asdict(stored),
                "holds": usage.holds,
                "logical_bytes": usage.logical_bytes,
                "saved_bytes": usage.saved_bytes,
                "unheld_bytes": unheld_bytes,
            }
        )
        return
    show.table(
        ("", "bytes", "", "in"),
        (
            (name, f"{size_bytes:,}".replace(",", "_"), show.size(size_bytes), count)
            for name, size_bytes, count in (
                ("logical", usage.logical_bytes, f"{usage.holds} holds"),
                ("stored", stored.stored_bytes, f"{stored.blobs} blobs"),
                ("saved by dedup", usage.saved_bytes, ""),
                ("held by nobody", unheld_bytes, ""),
                ("open uploads", stored.staged_bytes, f"{stored.uploads} uploads"),
            )
        ),
    )


@click.command(short_help="Remove blobs that nobody holds, and say why.")
@with_config()
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; remove nothing.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="With --dry-run: say it of every stored blob, not of the candidates alone.",
)
@JSON
def gc(config: Config, dry_run: bool, every: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove blobs that nothing holds, and say for each candidate why it stays or goes.

    Candidates are blobs of which a hold has ended: a link was removed, a push broke off, the blob
    API's DELETE, or no manifest named the blob for upkeep.unnamed_link_grace_s. Safe beside a
    running daemon, which does the same every upkeep.gc_interval_s.
    """
    if every and not dry_run:
        raise click.UsageError("--all is for --dry-run: only candidates are ever removed")
    verdicts = asyncio.run(_explain(config) if every else _collect(config, dry_run=dry_run))
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
    looked_at = "stored blobs" if every else "candidates"
    freed = show.size(sum(verdict.size_bytes for verdict in going))
    click.echo(f"{len(going)} of {len(verdicts)} {looked_at} {what}, {freed}")


@click.command("adopt-store", short_help="Bind a store and a catalog that do not belong together.")
@with_config()
def adopt(config: Config) -> None:
    """Bind the store to the catalog, whatever their markers say.

    The way out where `blobd serve` refuses to start because blobs or catalog are not those that
    belong together: after one of them was lost, or restored from elsewhere. Stop the daemon before.
    Nothing is removed; another catalog that was bound to the store is refused from its next start.
    """
    click.echo(f"store and catalog are bound to each other: {asyncio.run(_adopt(config))}")


async def _adopt(config: Config) -> str:
    from blobd.references.store_marker import adopt_store

    async with opened(config, recognises=False) as daemon:
        adopted = await adopt_store(daemon.catalog, daemon.store.backend)
        if daemon.registry is not None:
            await daemon.registry.note_operator("adopt-store")
        return adopted


async def _collect(config: Config, *, dry_run: bool) -> list[CollectionResult]:
    from blobd.references.collection import collect

    async with opened(config) as daemon:
        return [
            verdict
            async for verdict in collect(
                daemon.roots, daemon.store, daemon.metrics, dry_run=dry_run
            )
        ]


async def _explain(config: Config) -> list[CollectionResult]:
    from blobd.references.collection import explain

    async with opened(config) as daemon:
        return [verdict async for verdict in explain(daemon.roots, daemon.store)]


async def _measure(config: Config) -> tuple[_Stored, Usage]:
    from blobd.references.usage import read_usage

    async with opened(config) as daemon:
        sizes = [blob.size_bytes async for blob in daemon.store.blobs()]
        offsets = [upload.offset async for upload in daemon.uploads.open_uploads()]
        usage = await daemon.catalog.read(partial(read_usage, references=daemon.references))
    return _Stored(len(sizes), sum(sizes), len(offsets), sum(offsets)), usage
