"""skopeo: copies between places, keeps nothing."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from tests.clients.commands import Home
from tests.clients.contents import layers_of_layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clients.registry_reader import Repository
    from tests.images import Descriptor, Image, Layout


class Skopeo:
    """`skopeo copy` between layouts and the registry, and its other commands."""

    sends_as_is: ClassVar = True

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folders = 0

    def push(self, image: Image, reference: str) -> None:
        self.push_layout(image.layout.folder, image.tag, reference)

    def push_layout(self, folder: Path, tag: str, reference: str, *options: str) -> None:
        """Push whatever a layout has under a tag."""
        # Without the option, skopeo compresses what is plain.
        self._copy(f"oci:{folder}:{tag}", f"docker://{reference}", "--preserve-digests", *options)

    def push_directory(
        self, layout: Layout, descriptor: Descriptor, reference: str, *options: str
    ) -> None:
        """Push a manifest or an index of any format; skopeo's `oci:` takes only OCI's."""
        folder = self._folder()
        folder.mkdir()
        for blob in layout.blobs():
            (folder / blob.name).hardlink_to(blob)
            (folder / f"{blob.name}.manifest.json").hardlink_to(blob)
        (folder / "manifest.json").write_bytes(layout.read(descriptor))
        (folder / "version").write_text("Directory Transport Version: 1.1\n")
        self._copy(f"dir:{folder}", f"docker://{reference}", "--preserve-digests", *options)

    def pull_directory(self, reference: str, *options: str) -> Path:
        """Pull manifests and blobs, as they are, as files of one folder."""
        folder = self._folder()
        self._copy(f"docker://{reference}", f"dir:{folder}", *options)
        (folder / "version").unlink()
        return folder

    def pull(self, reference: str) -> list[str]:
        return layers_of_layout(self.pull_layout(reference))

    def pull_layout(self, reference: str, *options: str) -> Path:
        """Pull to a layout of its own, and return its folder."""
        folder = self._folder()
        self._copy(f"docker://{reference}", f"oci:{folder}:pulled", *options)
        return folder

    def copy(self, source: str, target: str) -> None:
        self._copy(f"docker://{source}", f"docker://{target}")

    def log_in(self, host: str, secret: str | None) -> None:
        if secret is None:
            self._home.run("skopeo", "logout", host)
        else:
            plain = "--tls-verify=false"
            self._home.run("skopeo", "login", plain, "-u", "somebody", "-p", secret, host)

    def forget(self) -> None:
        shutil.rmtree(self._home.system_store / "cache", ignore_errors=True)

    def delete(self, reference: str) -> None:
        """Delete the manifest that a reference leads to."""
        self._run("delete", "--tls-verify=false", f"docker://{reference}")

    def inspect(self, reference: str) -> str:
        """Return a manifest's text."""
        return self._run("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")

    def tags(self, repository: Repository) -> str:
        """Return what `list-tags` prints: JSON."""
        name = f"docker://{repository.host}/{repository.name}"
        return self._run("list-tags", "--tls-verify=false", name)

    def _folder(self) -> Path:
        self._folders += 1
        return self._home.folder / f"folder-{self._folders}"

    def _copy(self, source: str, target: str, *options: str) -> None:
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        self._run("copy", "--quiet", *plain, *options, source, target)

    def _run(self, *arguments: str) -> str:
        return self._home.run("skopeo", "--insecure-policy", *arguments)


@contextmanager
def open_skopeo(folder: Path, *, docker_config: Path | None = None) -> Iterator[Skopeo]:
    yield Skopeo(Home(folder, docker_config=docker_config))
