"""How many CPUs this process may use: what its affinity and the quotas of its cgroups leave."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OCTAL = re.compile(r"\\([0-7]{3})")


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs to start workers for, at least 1.

    A quota of one and a half CPUs counts as two: rounding down would leave the half unused.
    `os.cpu_count` ignores affinity and quotas. `root` is where `proc` and the mounts are.
    """
    allowed = float(len(os.sched_getaffinity(0)))
    for quota in _quotas(root):
        allowed = min(allowed, quota)
    return max(1, math.ceil(allowed))


def _quotas(root: Path) -> Iterator[float]:
    """Yield each quota that is set for this process's cgroups or one above them, in CPUs.

    Where the files cannot be read there is no quota that could be known.
    """
    memberships = dict(_memberships(root / "proc/self/cgroup"))
    for kind, mount_root, mount_point in _mounts(root / "proc/self/mountinfo"):
        if kind not in memberships:
            continue
        top = root / mount_point.lstrip("/")
        # With a cgroup namespace the path is relative to the mount; without one, a container sees
        # its own cgroup as the mount's root and its path as the host knows it.
        inside = Path(memberships[kind])
        below = inside.relative_to(mount_root) if inside.is_relative_to(mount_root) else Path()
        folder = top / below
        if ".." in below.parts or not folder.is_dir():
            folder = top
        read = _quota_v2 if kind == "v2" else _quota_v1
        while True:
            quota = read(folder)
            if quota is not None:
                yield quota
            if folder == top:
                break
            folder = folder.parent


def _memberships(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the paths of the cgroups that may limit CPU time, by "v1" and "v2" (cgroups(7))."""
    for line in _lines(file):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield "v2", path
        elif "cpu" in controllers.split(","):
            yield "v1", path


def _mounts(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield "v1" or "v2", root and mount point of mounted cgroups (proc_pid_mountinfo(5))."""
    for line in _lines(file):
        mount, separator, file_system = line.partition(" - ")
        fields, kinds = mount.split(), file_system.split()
        if not separator or len(fields) < 5 or len(kinds) < 3:
            continue
        root, point = _unescaped(fields[3]), _unescaped(fields[4])
        if kinds[0] == "cgroup2":
            yield "v2", root, point
        elif kinds[0] == "cgroup" and "cpu" in kinds[2].split(","):
            yield "v1", root, point


def _quota_v2(folder: Path) -> float | None:
    (line,) = _lines(folder / "cpu.max") or [""]
    quota, _, period = line.partition(" ")
    return _divided(quota, period)


def _quota_v1(folder: Path) -> float | None:
    (quota,) = _lines(folder / "cpu.cfs_quota_us") or [""]
    (period,) = _lines(folder / "cpu.cfs_period_us") or [""]
    return _divided(quota, period)


def _divided(quota_us: str, period_us: str) -> float | None:
    """Return a quota in CPUs; None for `max`, -1 and what is no number."""
    if not quota_us.strip().isdecimal() or not period_us.strip().isdecimal():
        return None
    return int(quota_us) / int(period_us) if int(quota_us) and int(period_us) else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
