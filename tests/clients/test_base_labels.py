"""buildah names the base of what it builds, so the registry can say whose a label is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import needs_buildah, opened
from tests.clients.podman import open_buildah
from tests.daemon import Daemon
from tests.registry.access.conftest import Client, basic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.podman import Podman

_LABEL = "org.opencontainers.image.source"
_WITHIN_S = 30


def build(podman: Podman, folder: Path, reference: str, layers: str, *lines: str) -> None:
    folder.mkdir()
    (folder / "file").write_text(folder.name)
    (folder / "Containerfile").write_text("\n".join(lines))
    podman.build(folder, reference, "--isolation=chroot", f"--layers={layers}")


def said_of(client: Client, package: str) -> str:
    """Return what the audit says of the package's label."""
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        for entry in client.get(f"/api/audit?package={package}").json():
            if entry["action"] == "link refused":
                return str(entry["detail"])
        time.sleep(0.1)
    raise AssertionError("the audit says nothing of it")


@needs_buildah
@pytest.mark.parametrize("layers", ["false", "true"])
def test_a_label_of_the_base_is_told_from_ones_own(layers: str, tmp_path: Path) -> None:
    settings = {"store.durability": "none", "registry.auth": "true"}
    with (
        Daemon(tmp_path / "data", settings=settings) as daemon,
        opened(open_buildah) as podman,
    ):
        assert daemon.first_token is not None
        admin = Client(daemon.registry, basic(daemon.first_token))
        podman.log_in(daemon.registry, daemon.first_token)
        label = f"LABEL {_LABEL}=http://{daemon.registry}/other/code"
        base = f"{daemon.registry}/admin/base:v1"
        build(podman, tmp_path / "base", base, layers, "FROM scratch", "COPY file /one", label)
        podman.push_built(base)
        for name, more in (("child", ()), ("own", (label,))):
            reference = f"{daemon.registry}/admin/{name}:v1"
            lines = (f"FROM {base}", "COPY file /two", *more)
            build(podman, tmp_path / name, reference, layers, *lines)
            podman.push_built(reference)
        assert "came with the base image admin/base:v1" in said_of(admin, "admin/child")
        for other in ("admin/base", "admin/own"):
            assert "base image" not in said_of(admin, other)
