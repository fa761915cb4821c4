"""Partial pulls by a real client: of a layer that it has in another version, the changed files."""

from __future__ import annotations

import secrets
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import opened
from tests.clients.partial_podman import open_partial_podman
from tests.clients.registry_reader import Repository
from tests.daemon import Daemon
from tests.engines.every import MOTO
from tests.images import Layout
from tests.relay.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clients.partial_podman import PartialPodman
    from tests.engines.every import Engines

pytestmark = pytest.mark.needs("podman", "root", "overlay")

_TABLE_BYTES = 64 * 1024
"""What a pull costs beside changed bytes: manifest, configuration, and the table of contents of the
layer with a digest for each chunk of some tens of KiB (39 KiB for a layer of 36 MB)."""


@pytest.fixture(scope="module", params=[pytest.param(None, id="filesystem"), MOTO])
def site(
    request: pytest.FixtureRequest, engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Relay, Relay | None]]:
    """A relay before a daemon, and one before its engine; blobs of one piece are redirected."""
    folder = tmp_path_factory.mktemp("daemon")
    if request.param is None:
        with Daemon(folder / "data") as daemon, Relay(daemon.registry) as front:
            yield front, None
        return
    bucket = engines.get(request.param).make_bucket()
    with Relay(bucket.access.endpoint_url.removeprefix("http://")) as back:
        settings = {**bucket.settings(endpoint_url=back.url), "s3.redirect": "true"}
        with Daemon(folder / "data", settings=settings) as daemon, Relay(daemon.registry) as front:
            yield front, back
    bucket.clear()


@pytest.fixture
def repository(site: tuple[Relay, Relay | None]) -> Repository:
    return Repository(site[0].address, f"acme/partial-{secrets.token_hex(4)}")


@pytest.fixture
def puller() -> Iterator[PartialPodman]:
    with opened(open_partial_podman) as podman:
        yield podman


def write_files(folder: Path, count: int, size_bytes: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"file-{number:05}").write_bytes(secrets.token_bytes(size_bytes))


def change(folder: Path, numbers: range, size_bytes: int) -> int:
    """Write some files anew; return how many bytes that is."""
    for number in numbers:
        (folder / f"file-{number:05}").write_bytes(secrets.token_bytes(size_bytes))
    return len(numbers) * size_bytes


def push(folder: Path, layout: Path, reference: str) -> None:
    """Push an image with one layer of these files, from a machine that has nothing else."""
    made = Layout(layout)
    padding = layout / "padding"
    padding.write_bytes(bytes(_padding_bytes(folder)))
    # Folders first: containers/storage copies what it has only into folders that are there.
    files = [(folder, "opt"), *((path, f"opt/{path.name}") for path in sorted(folder.iterdir()))]
    files += [(folder, "srv"), (padding, "srv/padding")]
    image = made.add_image("made", [made.add_layer(files)])
    with opened(open_partial_podman) as pusher:
        pusher.push(image, reference)


def _padding_bytes(folder: Path) -> int:
    """Return the size of a last file that lets the tar's end mark fill its record.

    Up to containers/storage 1.51 its zstd:chunked writer stops at the mark, and the push fails with
    `short write` where zeros follow (containers/storage issue 1771).
    """
    block_bytes = tarfile.BLOCKSIZE
    blocks = 5  # the file that `layers.pack` adds, two folders, and the head of the padding
    for path in folder.iterdir():
        blocks += 1 + -(-path.stat().st_size // block_bytes)
    return -(blocks + 2) * block_bytes % tarfile.RECORDSIZE


def passed_bytes(site: tuple[Relay, Relay | None]) -> int:
    """Return how many bytes of blobs left the daemon and its engine, for whomever."""
    return sum(
        passage.answer_bytes
        for relay in site
        if relay is not None
        for passage in relay.passages()
        if passage.method == "GET"
    )


def pull_both(
    site: tuple[Relay, Relay | None],
    repository: Repository,
    puller: PartialPodman,
    files: Path,
) -> None:
    """Pull the old version, then the new one, and forget what passed before it."""
    puller.pull(repository.at("old"))
    for relay in site:
        if relay is not None:
            relay.forget()
    puller.pull(repository.at("new"))
    assert puller.has(files, "opt")


def test_one_changed_file_of_forty_is_all_that_is_moved(
    site: tuple[Relay, Relay | None],
    repository: Repository,
    puller: PartialPodman,
    tmp_path: Path,
) -> None:
    """36 MB, of which 0.9 MB changed: at most twice that on all wires together, and the table."""
    files = tmp_path / "files"
    write_files(files, 40, 900_000)
    push(files, tmp_path / "old", repository.at("old"))
    changed_bytes = change(files, range(17, 18), 900_000)
    push(files, tmp_path / "new", repository.at("new"))
    pull_both(site, repository, puller, files)
    assert changed_bytes <= passed_bytes(site) <= 2 * changed_bytes + _TABLE_BYTES


def test_a_thousand_changed_files_are_one_request(
    site: tuple[Relay, Relay | None],
    repository: Repository,
    puller: PartialPodman,
    tmp_path: Path,
) -> None:
    """As many ranges as the client asks for at most, in one head of more than 16 KiB."""
    files = tmp_path / "files"
    write_files(files, 2200, 6000)
    push(files, tmp_path / "old", repository.at("old"))
    changed_bytes = change(files, range(0, 2200, 2), 6000)
    push(files, tmp_path / "new", repository.at("new"))
    pull_both(site, repository, puller, files)
    front, _ = site
    several = [passage for passage in front.passages() if passage.ranges > 1]
    assert [passage.status for passage in several] == [206]
    assert several[0].ranges > 900
    assert changed_bytes <= sum(passage.answer_bytes for passage in front.passages())
