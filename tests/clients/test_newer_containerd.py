"""A containerd that tries HTTPS on loopback addresses too, as Docker 29 and the kubelet do.

Debian 12's takes loopback addresses for plain HTTP at once; Debian 13's goes on in it only after an
answer to its TLS ClientHello that begins with `HTTP/`.
"""

from __future__ import annotations

import platform
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.containerd import open_containerd
from tests.clients.everyone import opened
from tests.daemon import which

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.registry_reader import Repository
    from tests.images import Image

pytestmark = [pytest.mark.long, pytest.mark.needs("debootstrap", "root")]


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """A folder with Debian 13's containerd and ctr, which run on their own C library."""
    debootstrap = which("debootstrap")
    assert debootstrap is not None
    with tempfile.TemporaryDirectory(prefix="blobd-debian-") as folder:
        root = Path(folder) / "root"
        done = subprocess.run(
            [debootstrap, "--variant=minbase", "--include=containerd", "trixie", str(root)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        libraries = root / "usr/lib" / f"{platform.machine()}-linux-gnu"
        loader = next((root / "usr").glob("lib*/**/ld-linux-*.so.*"))
        bin_folder = Path(folder) / "bin"
        bin_folder.mkdir()
        for name in ("containerd", "ctr"):
            script = bin_folder / name
            script.write_text(
                f'#!/bin/sh\nexec {loader} --library-path {libraries} {root}/usr/bin/{name} "$@"\n'
            )
            script.chmod(0o755)
        yield bin_folder


def test_it_goes_on_in_plain_http_after_its_tls_hello(
    programs: Path, image: Image, repository: Repository
) -> None:
    """No option names plain HTTP; where the hello is hung up on, a push ends in `EOF`."""
    reference = repository.at("v1")
    with opened(partial(open_containerd, programs=programs, plain_http=False)) as containerd:
        containerd.push(image, reference)
        containerd.forget()
        assert containerd.pull(reference) == image.diff_ids
