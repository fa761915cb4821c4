"""`blobd push` and `blobd pull`: the client library with a progress bar."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import parsed_digest
from blobd.digest import SUPPORTED_ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blobd.client import Blob, Progress
    from blobd.client.models import ProgressCallback
    from blobd.digest import Digest

    Command = Callable[..., None]


def _checked_address(_: click.Context, __: click.Parameter, address: str) -> str:
    from blobd.client import Client

    try:
        Client(address)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return address


_SERVER = (
    click.option(
        "--server",
        default="http://127.0.0.1:5080",
        show_default=True,
        envvar="BLOBD_SERVER",
        show_envvar=True,
        metavar="URL",
        callback=_checked_address,
        help="The blob API of a running blobd: http://host:port or unix:/path.",
    ),
    click.option(
        "--token", envvar="BLOBD_TOKEN", show_envvar=True, help="One of its blob_api.tokens."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def _with_server(command: Command) -> Command:
    for option in reversed(_SERVER):
        command = option(command)
    return command


@click.command(short_help="Store a file and print its digest.")
@click.argument("file")
@click.option("--digest", callback=parsed_digest, help="What the bytes must hash to.")
@click.option(
    "--algorithm",
    type=click.Choice(SUPPORTED_ALGORITHMS),
    default="sha256",
    show_default=True,
    help="What to hash with when --digest is not given.",
)
@click.option("--upload", "upload_id", help="Continue this upload, begun with the same file.")
@_with_server
def push(
    file: str,
    digest: Digest | None,
    algorithm: str,
    upload_id: str | None,
    server: str,
    token: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Store FILE (or - for standard input) and print its digest.

    A dropped connection or a restarting server is waited for, and the push goes on at the byte
    where it stood. When that does not help, or after Ctrl-C, the line to continue with is printed.

    A pipe, a FIFO or a device is read to its end; it cannot be read again, so it must give the
    same bytes from the first one on where such a push is to be continued.
    """
    from blobd.client import Client, ClientError

    async def run(progress: ProgressCallback) -> Blob:
        async with Client(server, token) as client:
            return await client.push(
                sys.stdin.fileno() if file == "-" else file,
                digest=digest,
                algorithm=algorithm,
                upload_id=upload_id,
                progress=progress,
            )

    last_seen = upload_id

    def tell_how_to_go_on(upload: str | None) -> None:
        if upload is None:
            return
        rereadable = file != "-" and Path(file).is_file()
        again = "" if rereadable else ", given the same bytes from the first one"
        click.echo(f"to go on: blobd push {shlex.quote(file)} --upload {upload}{again}", err=True)

    try:
        with _bar(file) as advance:

            def note(step: Progress) -> None:
                nonlocal last_seen
                last_seen = step.upload_id
                advance(step)

            blob = asyncio.run(run(note))
    except ClientError as error:
        tell_how_to_go_on(error.upload_id)
        raise
    except KeyboardInterrupt:
        tell_how_to_go_on(last_seen)
        raise
    if as_json:
        show.as_json({"digest": str(blob.digest), "size_bytes": blob.size_bytes})
    else:
        click.echo(str(blob.digest))


@click.command(short_help="Fetch a blob into a file, verified.")
@click.argument("digest", callback=parsed_digest)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to put it; - for standard output. [default: the encoded part of the digest]",
)
@_with_server
def pull(
    digest: Digest,
    output: str | None,
    server: str,
    token: str | None,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Fetch the blob DIGEST into a file, verified, and print the file's name.

    Goes on where it stood after a dropped connection; after Ctrl-C the same command goes on too.
    A FIFO, a device or `-` is written to as the bytes come: there the exit code says whether they
    are the blob.
    """
    from blobd.client import Client

    to = output if output is not None else digest.encoded
    on_stdout = to == "-" or _is_standard_output(to)

    async def run(progress: ProgressCallback) -> Blob:
        async with Client(server, token) as client:
            into = sys.stdout.fileno() if to == "-" else to
            return await client.pull(digest, into, progress=progress)

    with _bar(to) as advance:
        blob = asyncio.run(run(advance))
    if on_stdout:
        return
    if as_json:
        show.as_json({"file": to, "digest": str(digest), "size_bytes": blob.size_bytes})
    else:
        click.echo(to)


def _is_standard_output(path: str) -> bool:
    """Whether a path is where this process prints, as /dev/stdout is: nothing else may go there."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(sys.stdout.fileno()))
    except OSError:
        return False


@contextmanager
def _bar(title: str) -> Iterator[ProgressCallback]:
    """Draw a bar on standard error while the block runs, if it is a terminal."""
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as bar:
        task = bar.add_task(Path(title).name, total=None)
        yield lambda step: bar.update(task, completed=step.done_bytes, total=step.total_bytes)
