"""Samples: noted as they are taken, written as JSON lines at once, read as medians."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CPU = "server CPU, s/GiB"
SPEED = "MiB/s"
CLIENT = "client CPU, s/GiB"
FIRST_BYTE = "first byte, ms"
RATE = "requests/s"
CPU_EACH = "server CPU, µs/request"
SYNCS = "fsyncs/blob"
COMMIT = "last byte to 201, ms"
LAG = "loop lag p99, ms"
MEMORY = "RSS, MiB"
BEYOND = "RSS beyond idle, MiB"
LOAD = "load average of the machine"
START = "start-up, ms"
LISTING = "listing of 1,000, ms"
WAIT = "ready to first new byte, ms"
REREAD = "re-read, MiB"
ENGINE = "engine CPU, s/GiB"
COMPLETE = "of it the engine's Complete, ms"
REQUESTS = "engine requests"
FINISHED = "uploads that finished"
FAILED = "requests that failed"
ANSWER = "slowest answer, ms"
PUSH = "push p99, ms"
OF_ALONE = "push p99 of a round, of alone"
TAIL = "largest tail fetched, MiB"


@dataclass(frozen=True, slots=True)
class Key:
    """What a figure is of."""

    part: str
    case: str
    subject: str
    metric: str


class Journal:
    """All samples of a run, in the order they were taken."""

    def __init__(self, path: Path, machine: Mapping[str, object]) -> None:
        """Start the file with a line about the machine and the versions."""
        self._path = path
        self._values: dict[Key, list[float]] = {}
        self._start_s = time.monotonic()
        path.write_text(json.dumps({"machine": machine}) + "\n")

    @classmethod
    def read(cls, paths: Sequence[Path]) -> tuple[Journal, dict[str, object]]:
        """Return what earlier runs wrote, and the machine of the last; of each part, the last run.

        So a part can be measured again, and ratios stay those of one run.
        """
        journal = cls.__new__(cls)
        journal._path, journal._start_s = paths[-1], time.monotonic()
        journal._values = {}
        machine: dict[str, object] = {}
        for path in paths:
            first, *rest = map(json.loads, path.read_text().splitlines())
            machine = first["machine"]
            values: dict[Key, list[float]] = {}
            for line in rest:
                value = line.pop("value")
                values.setdefault(Key(**line), []).append(value)
            again = {key.part for key in values}
            kept = {key: old for key, old in journal._values.items() if key.part not in again}
            journal._values = kept | values
        return journal, machine

    def note(self, key: Key, value: float) -> None:
        """Keep one sample."""
        self._values.setdefault(key, []).append(value)
        with self._path.open("a") as file:
            line = asdict(key) | {"value": round(value, 6)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def progress(self, text: str) -> None:
        """Tell the person who waits what is being measured."""
        sys.stderr.write(f"[{time.monotonic() - self._start_s:6.1f} s] {text}\n")

    @property
    def keys(self) -> list[Key]:
        """Return what was measured, in order of first appearance."""
        return list(self._values)

    def median(self, key: Key) -> float | None:
        """Return the median of a key's samples, None where nothing was measured."""
        values = self._values.get(key)
        return None if values is None else statistics.median(values)

    def count(self, key: Key) -> int:
        """Return how many samples a key has."""
        return len(self._values.get(key, ()))
