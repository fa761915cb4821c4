"""podman and buildah: one storage library, two programs. Both compress while they push."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from tests.clients.commands import Home
from tests.clients.contents import layers_of_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.images import Image


class Podman:
    """podman, or buildah where the two take the same commands."""

    sends_as_is: ClassVar = False

    def __init__(self, home: Home, program: str, *options: str) -> None:
        self._home = home
        self._program = program
        store = home.folder / "store"
        self._options = (
            f"--root={store}/root",
            f"--runroot={store}/run",
            "--storage-driver=vfs",
            *options,
        )
        self._pulls = 0

    def push(self, image: Image, reference: str) -> None:
        self._push(self.load(image), reference)

    def load(self, image: Image) -> str:
        """Store an image locally and return its id."""
        return self._run("pull", "--quiet", f"oci:{image.layout.folder}:{image.tag}")

    def pull(self, reference: str) -> list[str]:
        image_id = self._pull(reference)
        self._pulls += 1
        folder = self._home.folder / f"pulled-{self._pulls}"
        self._run("push", "--quiet", image_id, f"oci:{folder}:pulled")
        return layers_of_layout(folder)

    def copy(self, source: str, target: str) -> None:
        self._push(self._pull(source), target)

    def log_in(self, host: str, secret: str | None) -> None:
        if secret is None:
            self._run("logout", host)
        else:
            self._run("login", "--tls-verify=false", "-u", "somebody", "-p", secret, host)

    def push_index(self, images: Sequence[Image], reference: str) -> None:
        """Make an index of images, and push it with all that it names."""
        self._run("manifest", "create", reference)
        for image in images:
            source = f"oci:{image.layout.folder}:{image.tag}"
            self._run("manifest", "add", "--all", reference, source)
        plain = "--tls-verify=false"
        self._run("manifest", "push", plain, "--all", reference, f"docker://{reference}")

    def build(self, context: Path, reference: str, *options: str) -> None:
        """Build what a folder's Containerfile says."""
        self._run("build", "--quiet", "--tls-verify=false", *options, "-t", reference, str(context))

    def push_built(self, reference: str) -> None:
        """Push an image under the name that it was built as."""
        self._push(reference, reference)

    def forget(self) -> None:
        self._run("rmi", "--all", "--force")
        shutil.rmtree(self._home.system_store / "cache", ignore_errors=True)

    def _push(self, image_id: str, reference: str) -> None:
        self._run("push", "--quiet", "--tls-verify=false", image_id, f"docker://{reference}")

    def _pull(self, reference: str) -> str:
        return self._run("pull", "--quiet", "--tls-verify=false", reference)

    def _run(self, *arguments: str) -> str:
        return self._home.run(self._program, *self._options, *arguments)


@contextmanager
def open_podman(folder: Path, *, docker_config: Path | None = None) -> Iterator[Podman]:
    apart = (f"--tmpdir={folder}/run", "--cgroup-manager=cgroupfs", "--events-backend=none")
    yield Podman(Home(folder, docker_config=docker_config), "podman", *apart)


@contextmanager
def open_buildah(folder: Path, *, docker_config: Path | None = None) -> Iterator[Podman]:
    yield Podman(Home(folder, docker_config=docker_config), "buildah")
