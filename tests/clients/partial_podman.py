"""podman with partial images on: it fetches only those files of a zstd:chunked layer that it lacks.

Only its overlay driver can, so this is apart from `podman.py`, whose driver works everywhere.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clients.commands import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.images import Image

_STORAGE = """\
[storage]
driver = "overlay"
runroot = "{folder}/run"
graphroot = "{folder}/graph"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}}
"""


class _Home(Home):
    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf")}


class PartialPodman:
    """A podman of its own, whose store holds what it has pulled."""

    def __init__(self, folder: Path) -> None:
        self._home = _Home(folder)
        self._graph = folder / "graph"
        (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))

    def push(self, image: Image, reference: str) -> None:
        """Push an image with its layers as zstd:chunked."""
        image_id = self._run("pull", "--quiet", f"oci:{image.layout.folder}:{image.tag}")
        form = "--compression-format=zstd:chunked"
        self._run("push", "--quiet", "--tls-verify=false", form, image_id, f"docker://{reference}")

    def pull(self, reference: str) -> None:
        self._run("pull", "--quiet", "--tls-verify=false", reference)

    def has(self, folder: Path, prefix: str) -> bool:
        """Whether a layer has all files of a folder, below a prefix, and no others there."""
        wanted = {path.name: path.read_bytes() for path in folder.iterdir()}
        return any(
            {path.name: path.read_bytes() for path in found.iterdir()} == wanted
            for found in self._graph.glob(f"overlay/*/diff/{prefix}")
        )

    def _run(self, *arguments: str) -> str:
        apart = (
            f"--tmpdir={self._home.folder}/tmp",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        )
        return self._home.run("podman", *apart, *arguments)


@contextmanager
def open_partial_podman(folder: Path) -> Iterator[PartialPodman]:
    yield PartialPodman(folder)


def may_mount_overlay() -> bool:
    """Whether this machine lets overlay file systems be mounted on its temporary folder."""
    with tempfile.TemporaryDirectory(prefix="blobd-") as name:
        for part in ("lower", "upper", "work", "merged"):
            (Path(name) / part).mkdir()
        layers = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", layers, f"{name}/merged"]
        return subprocess.run(["unshare", "--mount", *mount], capture_output=True).returncode == 0
