"""`python -m bench.series`: what counting and a scrape cost with 16 workers.

Beside prometheus-client's own way for several processes, files that are mapped into memory, on the
same metrics with the same series. Microseconds and milliseconds of CPU, medians of the rounds.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from blobd.metrics import Metrics
from blobd.series import SharedSeries

if TYPE_CHECKING:
    from collections.abc import Callable

_WORKERS = 16
_ROUTES = 30
_STATUSES = ("200", "201", "401", "404")
_UPDATES = 100_000
_ROUNDS = 5
_VALUE = "MutexValue"
"""What prometheus-client keeps values in: a module's attribute that it looks up each time."""


def main() -> None:
    """Print a table."""
    print(f"{_WORKERS} workers, each with {12 * _ROUTES * len(_STATUSES):,} series of requests")
    row = "{:<32} {:>10} {:>10} {:>12}"
    print(row.format("", "inc, us", "observe, us", "scrape, ms"))
    for name, measure in (("shared memory", _shared), ("prometheus-client's files", _files)):
        rounds = [_in_process(measure) for _ in range(_ROUNDS)]
        print(row.format(name, *(f"{median(each):.2f}" for each in zip(*rounds, strict=True))))


def _shared() -> tuple[float, float, float]:
    series = SharedSeries(_WORKERS)
    for worker in range(1, _WORKERS):
        _in_process(partial(_count_as, series, worker))
    metrics = Metrics(series.values(0))
    _count(metrics)
    metrics.render()  # the first one makes what others have counted
    return *_updates(metrics), _cpu_s(metrics.render) * 1e3


def _count_as(series: SharedSeries, worker: int) -> tuple[float, ...]:
    return _count(Metrics(series.values(worker)))


def _files() -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="blobd-bench-", dir="/dev/shm") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        for _ in range(1, _WORKERS):
            _in_process(lambda: _count(_metrics_in_files()))
        metrics = _metrics_in_files()
        _count(metrics)
        return *_updates(metrics), _cpu_s(_scrape_files) * 1e3


def _metrics_in_files() -> Metrics:
    mutex = values.MutexValue
    setattr(values, _VALUE, values.MultiProcessValue())  # type: ignore[no-untyped-call]
    try:
        return Metrics()
    finally:
        setattr(values, _VALUE, mutex)


def _scrape_files() -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    generate_latest(registry)


def _count(metrics: Metrics) -> tuple[float, ...]:
    for route in range(_ROUTES):
        for status in _STATUSES:
            metrics.request_duration.labels(f"registry.blobs.{route}", status).observe(0.01)
    return ()


def _updates(metrics: Metrics) -> tuple[float, float]:
    observed = metrics.request_duration.labels("registry.blobs.0", "200")

    def inc() -> None:
        for _ in range(_UPDATES):
            metrics.received_bytes.inc(4096)

    def observe() -> None:
        for _ in range(_UPDATES):
            observed.observe(0.01)

    return _cpu_s(inc) / _UPDATES * 1e6, _cpu_s(observe) / _UPDATES * 1e6


def _cpu_s(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


def _in_process(work: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """Return what the work returns in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return tuple(map(float, filter(None, answer.strip("()").split(","))))


if __name__ == "__main__":
    main()
