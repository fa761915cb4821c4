"""Client processes: told what to do by a line of JSON, started together, heard by another line.

A client prints `ready` once it has read its orders, begins when a line comes, and reports what it
measured and the CPU it cost. Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What client processes report together."""

    results: tuple[dict[str, Any], ...]
    """Each result of each client, as the client module's dataclass has it."""
    cpu_s: float
    """Of the clients, from the beginning of the work."""


def work(errand: type[E], act: Callable[[list[E]], Sequence[Any]]) -> None:
    """Be a client process: read orders, act on them when told, and report."""
    orders = [errand(**order) for order in json.loads(sys.stdin.readline())]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    begin_cpu_s = time.process_time()
    results = [asdict(result) for result in act(orders)]
    report = {"results": results, "cpu_s": time.process_time() - begin_cpu_s}
    sys.stdout.write(json.dumps(report) + "\n")


def employ(module: str, orders: Sequence[Sequence[Any]]) -> Outcome:
    """Run one client process for each sequence of errands, all at once.

    Raises RuntimeError when one of them fails; its traceback is on standard error.
    """
    processes = []
    try:
        for errands in orders:
            process = _started(module)
            processes.append(process)
            tell(process, json.dumps([_plain(errand) for errand in errands]))
        for process in processes:
            hear(process)
        for process in processes:
            tell(process, "go")
        reports = [json.loads(hear(process)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    results = tuple(result for report in reports for result in report["results"])
    return Outcome(results, sum(report["cpu_s"] for report in reports))


@contextmanager
def beside(module: str, orders: Any) -> Iterator[None]:
    """Let a process that has many connections act on its orders while the block runs.

    It has said that it is ready before the block begins, and is gone after it. Raises the limit on
    open files for it, and for what is started afterwards.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    process = _started(module)
    try:
        tell(process, json.dumps(_plain(orders)))
        hear(process)
        yield
    finally:
        process.kill()
        process.communicate()


def _started(module: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Write a line to a process that was started with pipes."""
    if process.stdin is None:
        raise RuntimeError("the process has no standard input")
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    """Return the next line a process says. Raises RuntimeError when it says no more."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"{' '.join(map(str, process.args))} failed")  # type: ignore[arg-type]
    return line


def _plain(errand: Any) -> Any:
    return asdict(errand) if is_dataclass(errand) and not isinstance(errand, type) else errand
