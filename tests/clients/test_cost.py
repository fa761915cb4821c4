"""What receiving costs: CPU against the least possible, and memory whatever the size.

Ratios of the cheapest of runs in turn: a machine that does other things too only ever adds to what
a run costs, by half and more, so that runs are repeated until the cheapest of each is seen.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients import bare_receiver
from tests.clients.sender import Body, push_at_once, push_in_chunks, push_with_length
from tests.daemon import Daemon, cpu_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_MOST_ROUNDS = 8
_MOST_CPU = 1.5
"""Times what the bare program needs (design.md section 5)."""
_MOST_RSS_BYTES = 200 * _MIB
_PUSHES = {"in chunks": push_in_chunks, "with length": push_with_length, "at once": push_at_once}


@pytest.fixture(scope="module")
def memory_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, so that no disk is measured; on disk where memory is short."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 4 * _GIB
    parent = shared if roomy else tmp_path_factory.mktemp("cost")
    with tempfile.TemporaryDirectory(prefix="blobd-cost-", dir=parent) as folder:
        yield Path(folder)


def test_a_push_needs_little_more_cpu_than_the_bare_program(memory_folder: Path) -> None:
    """Bytes are received, hashed and written in one pass (promise 4), in any form of push."""
    body = Body.make(memory_folder, size_bytes=_GIB)
    bare_s: list[float] = []
    pushes_s: dict[str, list[float]] = {name: [] for name in _PUSHES}
    ratios = dict.fromkeys(_PUSHES, math.inf)
    while max(ratios.values()) > _MOST_CPU and len(bare_s) < _MOST_ROUNDS:
        bare_s.append(_bare_cpu_s(body, memory_folder))
        for name, push in _PUSHES.items():
            pushes_s[name].append(_push_cpu_s(push, body, memory_folder))
        if len(bare_s) > 1:
            ratios = {name: min(each) / min(bare_s) for name, each in pushes_s.items()}
    assert max(ratios.values()) <= _MOST_CPU, (ratios, bare_s, pushes_s)


@pytest.mark.parametrize("push", _PUSHES.values(), ids=_PUSHES.keys())
@pytest.mark.parametrize(
    "size_gib", [pytest.param(1, id="1GiB"), pytest.param(4, id="4GiB", marks=pytest.mark.long)]
)
def test_memory_does_not_grow_with_the_blob(
    push: Callable[[Body, str], None], size_gib: int, memory_folder: Path, tmp_path: Path
) -> None:
    """Bytes in flight come out of one budget, whatever the size (promise 7)."""
    body = Body.make(memory_folder, size_bytes=size_gib * _GIB)
    with Daemon(tmp_path / "data") as daemon:
        push(body, f"{daemon.registry_url}/v2/acme/large")
        assert daemon.peak_rss_bytes() < _MOST_RSS_BYTES
    shutil.rmtree(tmp_path / "data")


def _push_cpu_s(push: Callable[[Body, str], None], body: Body, folder: Path) -> float:
    with Daemon(folder / "data") as daemon:
        before_s = daemon.cpu_s()
        push(body, f"{daemon.registry_url}/v2/acme/large")
        used_s = daemon.cpu_s() - before_s
    shutil.rmtree(folder / "data")
    return used_s


def _bare_cpu_s(body: Body, folder: Path) -> float:
    received = folder / "received"
    with subprocess.Popen(
        [sys.executable, bare_receiver.__file__, received],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        before_s = cpu_s(process.pid)
        answer = body.send(f"http://127.0.0.1:{port}/", "PUT")
        used_s = cpu_s(process.pid) - before_s
    assert f"sha256:{answer['Digest']}" == body.digest
    received.unlink()
    return used_s
