"""How many CPUs may be used: affinity, and quotas of cgroups of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blobd.cpus import usable_cpus
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

_V2 = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
_V1 = "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
_OTHER = (
    "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
    "34 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
_ASK = "from blobd.cpus import usable_cpus; print(usable_cpus())"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine of 64 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(64)})
    return tmp_path


def machine(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """Make a tree of `/proc/self` and cgroups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(_OTHER + mounts)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("20000000 100000", 64),
        ("", 64),
        ("nonsense", 64),
        ("100000 0", 64),
    ],
)
def test_a_quota_of_version_2(root: Path, limit: str, wanted: int) -> None:
    """As a container with a cgroup namespace sees itself: its own cgroup is the root."""
    machine(root, "0::/\n", _V2, {"sys/fs/cgroup/cpu.max": limit + "\n"})
    assert usable_cpus(root) == wanted


def test_the_tightest_quota_of_all_above_counts(root: Path) -> None:
    """A pod's quota holds for its containers, a slice's for its services."""
    own = "kubepods.slice/pod7.slice/container.scope"
    files = {
        f"sys/fs/cgroup/{own}/cpu.max": "800000 100000\n",
        "sys/fs/cgroup/kubepods.slice/pod7.slice/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/kubepods.slice/cpu.max": "max 100000\n",
        "sys/fs/cgroup/kubepods.slice/other.slice/cpu.max": "100000 100000\n",
    }
    assert usable_cpus(machine(root, f"0::/{own}\n", _V2, files)) == 3


@pytest.mark.parametrize(
    ("quota", "period", "wanted"), [("-1", "100000", 64), ("250000", "100000", 3), ("5000", "", 64)]
)
def test_a_quota_of_version_1(root: Path, quota: str, period: str, wanted: int) -> None:
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/abc"
    files = {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": period}
    cgroup = "4:memory:/elsewhere\n3:cpu,cpuacct:/docker/abc\n2:cpuset:/\n"
    assert usable_cpus(machine(root, cgroup, _V1, files)) == wanted


def test_a_container_without_a_namespace_sees_the_path_of_the_host(root: Path) -> None:
    """Docker with version 1: the mount's root is the container's cgroup."""
    mount = _V1.replace(" / /sys", " /docker/abc /sys")
    files = {
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    assert usable_cpus(machine(root, "3:cpu,cpuacct:/docker/abc\n", mount, files)) == 4


def test_a_cgroup_outside_of_the_namespace(root: Path) -> None:
    """A path that begins with `..` leads out of what is mounted: the mount's root counts."""
    machine(root, "0::/../other\n", _V2, {"sys/fs/cgroup/cpu.max": "500000 100000\n"})
    (root / "sys/fs/other").mkdir()
    assert usable_cpus(root) == 5


def test_both_versions_at_once_and_odd_mount_points(root: Path) -> None:
    """The hybrid layout of systemd; a blank in a path is written \\040."""
    v2 = _V2.replace("/sys/fs/cgroup rw", "/c\\040groups/unified rw")
    files = {
        "c groups/unified/x/cpu.max": "600000 100000\n",
        "sys/fs/cgroup/cpu,cpuacct/y/cpu.cfs_quota_us": "700000\n",
        "sys/fs/cgroup/cpu,cpuacct/y/cpu.cfs_period_us": "100000\n",
    }
    assert usable_cpus(machine(root, "1:cpu,cpuacct:/y\n0::/x\n", v2 + _V1, files)) == 6


def test_without_cgroups_affinity_counts(root: Path) -> None:
    assert usable_cpus(root) == 64


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Leave this process, and those it starts, one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_real_affinity() -> None:
    """As `taskset` and Docker's --cpuset-cpus set it."""
    with _on_one_cpu():
        assert _asked() == 1


def test_a_daemon_on_one_cpu_is_one_process(tmp_path: Path) -> None:
    """Issue: `server.workers = 0` counts what may be used."""
    with _on_one_cpu():
        daemon = Daemon(tmp_path / "real", settings={"server.workers": "0"})
        daemon.start()
    assert len(daemon.pids()) == 1
    daemon.stop()


@pytest.mark.needs("root")
@pytest.mark.parametrize(("quota_us", "wanted"), [(100_000, 1), (150_000, 2), (30_000, 1)])
def test_a_real_quota(quota_us: int, wanted: int) -> None:
    """Of a cgroup made here, in the version that this machine has the CPU controller in."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one CPU: no quota shows")
    with _real_cgroup(quota_us) as processes:
        join = f"open({str(processes)!r}, 'w').write('0');"
        assert _asked(join) == wanted


@contextmanager
def _real_cgroup(quota_us: int) -> Iterator[Path]:
    """Make a cgroup with a quota; yield the file through which a process joins it."""
    name = f"blobd-test-{os.getpid()}"
    for top, quota_file, quota in (
        ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", f"{quota_us}"),
        ("/sys/fs/cgroup", "cpu.max", f"{quota_us} 100000"),
    ):
        folder = Path(top, name)
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / quota_file).write_text(quota)
        except OSError:
            folder.rmdir()
            continue
        try:
            yield folder / "cgroup.procs"
        finally:
            folder.rmdir()
        return
    pytest.skip("no cgroup with a quota of CPU time can be made here")


def _asked(before: str = "") -> int:
    run = subprocess.run(
        [sys.executable, "-c", before + _ASK], capture_output=True, text=True, check=True
    )
    return int(run.stdout)
