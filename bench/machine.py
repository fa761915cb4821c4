"""What was measured on what: the machine, the versions, the commit; and memory made ready."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import blobd
from bench.plan import MIB
from bench.servers import which


def facts(disk: Path | None) -> dict[str, object]:
    """Return what somebody needs to know to compare a run with another."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _cpu_name(),
        "sha_extensions": " sha_ni " in Path("/proc/cpuinfo").read_text(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "disk": None if disk is None else _disk_kind(disk),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "blobd": blobd.__version__,
        "commit": _said("git", "-C", str(Path(blobd.__file__).parent), "rev-parse", "HEAD"),
        **{name: metadata.version(name) for name in ("aiohttp", "uvloop", "boto3", "SQLAlchemy")},
        "docker_registry": _said("docker-registry", "--version"),
        "ceph": _said("ceph", "--version"),
        "nginx": _said(which("nginx") or "nginx", "-v"),
    }


def warm_memory(folder: Path, size_bytes: int) -> None:
    """Touch and free memory: where a host hands it out lazily, its first use is slow."""
    path = folder / "warm"
    block = bytes(MIB)
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(block)
    path.unlink()


def _said(*command: str) -> str:
    """Return a program's words about itself, or that it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout or done.stderr).strip().partition("\n")[0] or "unknown"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _disk_kind(folder: Path) -> str:
    return _said("findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", str(folder))
