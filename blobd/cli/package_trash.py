"""`blobd package delete` and `restore`: packages and their versions, into the trash and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import PACKAGE, parsed_digest
from blobd.cli.opened import on_daemon
from blobd.cli.packages import find_package, full_name_of
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.app import Daemon
    from blobd.config import Config
    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.registry.catalog.packages import Package
    from blobd.registry.catalog.versions import Version

_DIGEST = click.option("--digest", callback=parsed_digest, help="The version of this digest.")
_NUMBER = click.option(
    "--id", "version_id", type=click.IntRange(1, 2**31 - 1), help="The version of this number."
)


@click.command
@with_config()
@PACKAGE
@_DIGEST
@click.option("--tag", help="The version that this tag names; all its tags go with it.")
@_NUMBER
@click.option("--force", is_flag=True, help="Delete a version that an index lists, too.")
@click.option("--yes", is_flag=True, help="Delete for good where registry.trash_retention_s is 0.")
def delete(
    config: Config,
    full_name: str,
    digest: Digest | None,
    tag: str | None,
    version_id: int | None,
    force: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001 - click's way
) -> None:
    """Delete a package, or one version of it.

    It can be restored for registry.trash_retention_s. The last version, or the last tagged one,
    is deleted with its package alone.
    """
    given: list[Digest | str | int] = [
        each for each in (digest, tag, version_id) if each is not None
    ]
    if len(given) > 1:
        raise click.UsageError("one of --digest, --tag and --id")
    if config.registry.trash_retention_s == 0 and not yes:
        raise click.UsageError(
            "registry.trash_retention_s is 0, so it cannot be restored; add --yes to delete it"
        )
    on_daemon(config, lambda daemon: _delete(daemon, full_name, *given, force=force))


@click.command
@with_config()
@PACKAGE
@_DIGEST
@_NUMBER
def restore(config: Config, full_name: str, digest: Digest | None, version_id: int | None) -> None:
    """Bring back a package that was deleted, or one version of a package.

    Of several deleted packages of the name the last one. A tag that names another version by now
    stays there.
    """
    if digest is not None and version_id is not None:
        raise click.UsageError("one of --digest and --id")
    wanted = version_id if digest is None else digest
    on_daemon(config, lambda daemon: _restore(daemon, full_name, wanted))


async def _delete(
    daemon: Daemon, full_name: str, wanted: Digest | str | int | None = None, *, force: bool
) -> None:
    from blobd.registry.auth.subjects import EVERYONE
    from blobd.registry.packages.activity import note_operator
    from blobd.registry.packages.trash import Trash

    catalog = daemon.catalog
    trash = Trash(catalog, daemon.config.registry.trash_retention_s)
    found = await find_package(catalog, full_name)
    breaks: tuple[str, ...] = ()
    if wanted is None:
        named = full_name_of(found)
        what = f"{named} with all its versions ({found.version_count})"
        await trash.delete_package(found.package_id, EVERYONE)
    else:
        version = await _version(catalog, found, wanted, deleted=False)
        named, what = _named(found, version)
        breaks = await trash.delete_version(found.package_id, version.digest, EVERYONE, force=force)
    await note_operator(catalog, f"package delete {named}", package=full_name_of(found))
    click.echo(f"deleted {what}")
    for sentence in breaks:
        click.echo(f"warning: {sentence}", err=True)
    if trash.retention_s:
        until = show.moment(catalog.now() + trash.retention_s)
        click.echo(f"`blobd package restore {named}` brings it back until {until}")


async def _restore(daemon: Daemon, full_name: str, wanted: Digest | int | None) -> None:
    from blobd.registry.packages.activity import note_operator
    from blobd.registry.packages.trash import Trash

    catalog = daemon.catalog
    trash = Trash(catalog, daemon.config.registry.trash_retention_s)
    found = await find_package(catalog, full_name, deleted=wanted is None)
    in_use: tuple[str, ...] = ()
    if wanted is None:
        named = full_name_of(found)
        what = f"{named} with its versions"
        await trash.restore_package(found.package_id)
    else:
        version = await _version(catalog, found, wanted, deleted=True)
        named, what = _named(found, version)
        in_use = await trash.restore_version(found.package_id, version.version_id)
    await note_operator(catalog, f"package restore {named}", package=full_name_of(found))
    click.echo(f"restored {what}")
    for tag in in_use:
        click.echo(f"the tag {tag} names another version by now, and stays there")


def _named(found: Package, version: Version) -> tuple[str, str]:
    """Return a version as arguments of a command, and as a person reads it."""
    tags = f" ({' '.join(version.tags)})" if version.tags else ""
    name = full_name_of(found)
    return f"{name} --digest {version.digest}", f"{name}@{version.digest}{tags}"


async def _version(
    catalog: Catalog, found: Package, wanted: Digest | str | int, *, deleted: bool
) -> Version:
    """Return the version of a digest, a tag or a number. Raises NotFound, TagInvalid."""
    from blobd.registry.catalog import versions
    from blobd.registry.catalog.read_queries import ReadQueries
    from blobd.registry.errors import NotFound
    from blobd.registry.names import parse_tag

    unknown = NotFound("deleted version" if deleted else "version", f"{wanted} of {found.name}")
    if isinstance(wanted, str):
        manifest = await ReadQueries(catalog.reader).tagged(found.repository, parse_tag(wanted))
        if manifest is None:
            raise unknown
        wanted = manifest.digest

    def find(transaction: Transaction) -> Version | None:
        if isinstance(wanted, int):
            return versions.find_version(transaction, found.package_id, wanted)
        return versions.find_digest(transaction, found.package_id, wanted)

    version = await catalog.read(find)
    if version is None or (version.deleted_at is not None) is not deleted:
        raise unknown
    return version
