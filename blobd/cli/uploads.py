"""`blobd uploads`: ls, rm and expire, on the store itself."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import opened
from blobd.cli.settings import with_config
from blobd.errors import UploadUnknown

if TYPE_CHECKING:
    from blobd.config import Config
    from blobd.session import Upload


@click.group
def uploads() -> None:
    """List and remove open uploads. Works beside a running daemon."""


@uploads.command("ls")
@with_config()
@JSON
def list_uploads(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List open uploads, oldest first.

    The bytes are those an interrupted upload would go on from.
    """
    found = asyncio.run(_open_uploads(config))
    if as_json:
        show.as_json([asdict(upload) for upload in found])
        return
    show.table(
        ("upload", "bytes", "algorithm", "owner", "begun", "last byte"),
        (
            (
                upload.upload_id,
                show.size(upload.offset),
                upload.algorithm,
                upload.owner,
                f"{show.age(upload.created_at)} ago",
                f"{show.age(upload.touched_at)} ago",
            )
            for upload in found
        ),
    )


@uploads.command("rm", short_help="Cancel uploads and remove their bytes.")
@with_config()
@click.argument("upload_ids", metavar="UPLOAD...", nargs=-1, required=True)
def remove(config: Config, upload_ids: tuple[str, ...]) -> None:
    """Cancel uploads and remove their bytes; a client that is still sending gets an error."""
    asyncio.run(_cancel(config, upload_ids))


@uploads.command(short_help="Remove abandoned and overdue uploads now.")
@with_config()
@JSON
def expire(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Remove abandoned and overdue uploads now, as the daemon does every expire_interval_s.

    What counts as abandoned or overdue: limits.upload_idle_expiry_s and limits.upload_timeout_s.
    """
    ended = asyncio.run(_expire(config))
    if as_json:
        show.as_json(ended)
    else:
        click.echo("\n".join([*ended, f"{len(ended)} uploads removed"]))


async def _open_uploads(config: Config) -> list[Upload]:
    async with opened(config) as daemon:
        found = [upload async for upload in daemon.uploads.open_uploads()]
    return sorted(found, key=lambda upload: upload.created_at)


async def _cancel(config: Config, upload_ids: tuple[str, ...]) -> None:
    async with opened(config) as daemon:
        owners = {upload.upload_id: upload.owner async for upload in daemon.uploads.open_uploads()}
        for upload_id in upload_ids:
            if upload_id not in owners:
                raise UploadUnknown(upload_id)
            await daemon.uploads.cancel(upload_id, owners[upload_id])
            click.echo(f"removed {upload_id}")


async def _expire(config: Config) -> list[str]:
    async with opened(config) as daemon:
        return await daemon.uploads.expire()
