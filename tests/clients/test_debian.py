"""A whole Debian, made by debootstrap, as an image."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import OF_IMAGES
from tests.daemon import which
from tests.images import Layout
from tests.layers import files_below

if TYPE_CHECKING:
    from tests.clients.client import Client
    from tests.clients.registry_reader import Repository
    from tests.images import Image

pytestmark = [pytest.mark.long, pytest.mark.needs("debootstrap", "root")]

_EVERYTHING_BYTES = 1 << 40


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with Debian's root file system as one layer and its documentation as another."""
    folder = tmp_path_factory.mktemp("debian")
    root = folder / "root"
    program = which("debootstrap")
    assert program is not None
    done = subprocess.run(
        [program, "--variant=minbase", _release(), str(root)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    layout = Layout(folder / "layout")
    everything = files_below(root, at_most_bytes=_EVERYTHING_BYTES)
    system = layout.add_layer((path, str(path.relative_to(root))) for path, _ in everything)
    documentation = layout.add_layer(files_below(Path("/usr/share"), at_most_bytes=8 << 20))
    return layout.add_image("debian", [system, documentation])


@pytest.mark.parametrize("client", OF_IMAGES, indirect=True)
def test_a_debian_comes_back_identical(
    client: Client, debian: Image, repository: Repository
) -> None:
    """Thousands of real files, links and folders go there and back (promise 1)."""
    reference = repository.at("v1")
    client.push(debian, reference)
    client.forget()
    assert client.pull(reference) == debian.diff_ids


def _release() -> str:
    """Return this machine's Debian, whose archive key it has; elsewhere bookworm."""
    facts = platform.freedesktop_os_release()
    return facts.get("VERSION_CODENAME", "bookworm") if facts["ID"] == "debian" else "bookworm"
