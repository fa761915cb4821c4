"""What processes cost, read from /proc: CPU and memory of a server and all its children."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> Iterator[int]:
    """Yield a process and all its living descendants."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def cpu_s(pid: int) -> float:
    """Return user and system seconds of a family, children that have ended included."""
    total_ticks = 0
    for member in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            _, _, rest = Path(f"/proc/{member}/stat").read_text().rpartition(")")
            total_ticks += sum(map(int, rest.split()[11:15]))
    return total_ticks / _TICKS_PER_S


def rss_bytes(pid: int, *, peak: bool = False) -> int:
    """Return the resident memory of a family now, or at its peak since `forget_peak`."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    total_bytes = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith(wanted):
                total_bytes += int(line.split()[1]) * 1024
    return total_bytes


def read_bytes(pid: int) -> int:
    """Return what a family has read through read calls: files and sockets, buffered or not."""
    total_bytes = 0
    for member in family(pid):
        first, _, _ = Path(f"/proc/{member}/io").read_text().partition("\n")
        total_bytes += int(first.split()[1])
    return total_bytes
