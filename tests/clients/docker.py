"""Docker's own engine, through its command line."""

from __future__ import annotations

import io
import json
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

_NO_NETWORK = (
    "--iptables=false",
    "--ip6tables=false",
    "--bridge=none",
    "--ip-forward=false",
    "--ip-masq=false",
)


class Docker:
    """`docker`; the engine compresses layers as it pushes, and writes manifests of its own."""

    sends_as_is: ClassVar = False

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pulls = 0

    def run(self, *arguments: str | Path) -> str:
        """Return what a command of docker's prints. Raises CommandFailed."""
        return self._home.run("docker", *_at(self._home), *arguments)

    def push(self, image: Image, reference: str) -> None:
        archive = self._home.folder / "image.tar"
        _write_archive(image, archive, name=reference)
        self.run("load", "--quiet", "--input", archive)
        self.run("push", "--quiet", reference)

    def pull(self, reference: str) -> list[str]:
        self.run("pull", "--quiet", reference)
        self._pulls += 1
        archive = self._home.folder / f"pulled-{self._pulls}.tar"
        image_id = self.run("inspect", "--format={{.Id}}", reference)
        self.run("save", "--output", archive, image_id)
        return layers_of_archive(archive, archive.with_suffix(""))

    def copy(self, source: str, target: str) -> None:
        self.run("pull", "--quiet", source)
        self.run("tag", source, target)
        self.run("push", "--quiet", target)

    def log_in(self, host: str, secret: str | None) -> None:
        if secret is None:
            self.run("logout", host)
        else:
            self.run("login", "-u", "somebody", "-p", secret, host)

    def forget(self) -> None:
        ids = set(self.run("images", "--all", "--quiet").split())
        if ids:
            self.run("rmi", "--force", *ids)


@contextmanager
def open_docker(folder: Path, *, docker_config: Path | None = None) -> Iterator[Docker]:
    home = Home(folder, docker_config=docker_config)
    config = folder / "daemon.json"
    config.write_text("{}")
    arguments = (
        *_at(home),
        *_NO_NETWORK,
        "--storage-driver=vfs",
        f"--data-root={folder}/root",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
        f"--config-file={config}",
    )
    answers = partial(home.run, "docker", *_at(home), "version")
    with running(home, "dockerd", *arguments, answers=answers):
        yield Docker(home)


def _at(home: Home) -> tuple[str, str]:
    return "--host", f"unix://{home.folder}/docker.sock"


def _write_archive(image: Image, path: Path, *, name: str) -> None:
    """Write an image as `docker load` takes it, to be known by a name."""
    layers = [layer.descriptor.digest for layer in image.layers]
    digests = [image.config.digest, *layers]
    content = json.dumps(
        [{"Config": image.config.digest, "RepoTags": [name], "Layers": layers}]
    ).encode()
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        for digest in digests:
            tar.add(image.layout.path_of(digest), digest)
