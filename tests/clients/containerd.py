"""containerd, through its own client ctr."""

from __future__ import annotations

import tarfile
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from tests.clients.commands import Home
from tests.clients.contents import layers_of_archive
from tests.clients.engine import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.images import Image

_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]
[grpc]
address = "{folder}/containerd.sock"
"""


class Containerd:
    """`ctr images`. Nothing is unpacked but for what `pull` insists on."""

    sends_as_is: ClassVar = True

    def __init__(self, home: Home, *, plain_http: bool = True) -> None:
        """Name plain HTTP in every command, or with `plain_http` false let ctr find it out."""
        self._home = home
        self._scheme = ("--plain-http",) if plain_http else ()
        self._pulls = 0
        self._user: tuple[str, ...] = ()

    def push(self, image: Image, reference: str) -> None:
        self.push_layout(image.layout.folder, image.tag, reference)

    def push_layout(self, folder: Path, tag: str, reference: str) -> None:
        """Push whatever a layout has under a tag, an index with all that it names."""
        archive = self._home.folder / "layout.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, ".")
        self._images("import", "--all-platforms", "--no-unpack", "--base-name", "made", archive)
        self._push(f"made:{tag}", reference)

    def pull(self, reference: str) -> list[str]:
        self._pull(reference)
        self._pulls += 1
        archive = self._home.folder / f"pulled-{self._pulls}.tar"
        self._images("export", archive, reference)
        return layers_of_archive(archive, archive.with_suffix(""))

    def copy(self, source: str, target: str) -> None:
        self._pull(source)
        self._push(source, target)

    def log_in(self, host: str, secret: str | None) -> None:
        self._user = () if secret is None else ("--user", f"somebody:{secret}")

    def forget(self) -> None:
        names = self._images("ls", "-q").split()
        if names:
            self._images("rm", "--sync", *names)

    def _push(self, name: str, reference: str) -> None:
        self._images("tag", "--force", name, reference)
        self._images("push", *self._scheme, *self._user, reference)

    def _pull(self, reference: str) -> None:
        self._images("pull", *self._scheme, *self._user, "--snapshotter", "native", reference)

    def _images(self, *arguments: str | Path) -> str:
        return self._home.run(
            "ctr", "-a", self._home.folder / "containerd.sock", "images", *arguments
        )


@contextmanager
def open_containerd(
    folder: Path, *, programs: Path | None = None, plain_http: bool = True
) -> Iterator[Containerd]:
    """Run containerd, of this machine or from a folder of `programs`, in a home of its own."""
    home = Home(folder, programs=programs)
    config = folder / "config.toml"
    config.write_text(_CONFIG.format(folder=folder))
    answers = partial(home.run, "ctr", "-a", folder / "containerd.sock", "version")
    with running(home, "containerd", f"--config={config}", answers=answers):
        yield Containerd(home, plain_http=plain_http)
