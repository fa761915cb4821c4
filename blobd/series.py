"""Values of metrics in memory that the workers of one daemon share.

The memory is no file system's: it cannot run full while the daemon runs, and a write to it cannot
fail. It has one region for each worker, which that worker alone writes; the worker that answers a
scrape adds the regions up. A region outlives its worker: the one that replaces it counts on where
it stopped, so that a counter never falls.

A region holds at most `SERIES_MAX` series. An update that finds no room for its series is counted
in `UNRECORDED` and otherwise lost; series that have room are not affected.

How a region lies in memory: the bytes of keys in use (one word), the values (one double for each
series), the keys (a JSON array on a line for each series, in the order of their values). A series
is published by writing that word last, so that a worker killed on the way leaves the region as it
was.
"""

from __future__ import annotations

import json
import mmap
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client import disable_created_metrics, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SERIES_MAX = 16_384
"""Series in one region: room for the 12 of each route with each status, and for all others."""
UNRECORDED = "blobd_unrecorded_updates"
"""The counter of updates that found no room; it always has some."""

_WORD_BYTES = 8
_KEYS_BYTES = SERIES_MAX * 96
_KEYS_AT = _WORD_BYTES * (1 + SERIES_MAX)
_REGION_BYTES = -(-(_KEYS_AT + _KEYS_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE

_STAYS, _LIVE = "stays", "live"
_KINDS = {
    ("counter", ""): _STAYS,
    ("histogram", ""): _STAYS,
    ("gauge", "sum"): _STAYS,
    ("gauge", "livesum"): _LIVE,
}
"""By type and multiprocess mode: whether the value ends with its worker."""

Key = tuple[str, str, tuple[str, ...]]
"""A metric's name, what its sample's name has behind it, and the values of the labels."""


class SharedSeries:
    """The regions of all workers, for the process that forks them."""

    def __init__(self, count: int) -> None:
        """Make empty regions for `count` workers. Raises OSError where there is no memory for them.

        Anonymous memory is promised in full when it is mapped (but for machines that promise more
        than they have), and taken page by page when it is first written.
        """
        self.count = count
        self._memory = mmap.mmap(-1, count * _REGION_BYTES)

    def region(self, worker: int) -> Region:
        """Return the region of one worker; its series are known once it has been refreshed."""
        start = worker * _REGION_BYTES
        return Region(memoryview(self._memory)[start : start + _REGION_BYTES])

    def values(self, worker: int) -> SharedValues:
        """Return what keeps one worker's values."""
        return SharedValues(self, worker)

    def retire(self, worker: int) -> None:
        """Take a dead worker's gauges out of the sums; what it counted stays."""
        region = self.region(worker)
        region.refresh()
        region.end_live()


class Region:
    """The series of one worker. Written by its owner alone, read by everybody."""

    def __init__(self, memory: memoryview) -> None:
        self._used = memory[:_WORD_BYTES].cast("Q")
        self.cells = memory[_WORD_BYTES:_KEYS_AT].cast("d")
        """The values, by place. One is read and written whole."""
        self._keys = memory[_KEYS_AT:]
        self._read_bytes = 0
        self._kinds: list[str] = []
        self._places: dict[Key, int] = {}

    def refresh(self) -> Sequence[Key]:
        """Read what series came since the last time; return their keys."""
        used_bytes = self._used[0]
        if used_bytes == self._read_bytes:
            return ()
        found = []
        for line in bytes(self._keys[self._read_bytes : used_bytes]).splitlines(keepends=True):
            try:
                kind, metric, suffix, labels = json.loads(line)
            except ValueError:
                break  # a processor may show the word before the key; the next time it is there
            key = (metric, suffix, tuple(labels))
            self._places[key] = len(self._kinds)
            self._kinds.append(kind)
            self._read_bytes += len(line)
            found.append(key)
        return found

    def read(self, key: Key) -> float:
        """Return a series' value; 0 where this region has none."""
        place = self._places.get(key)
        return 0.0 if place is None else self.cells[place]

    def add(self, key: Key, kind: str) -> int | None:
        """Make a series with the value 0, or find it; return its place, None where none is free."""
        place = self._places.get(key)
        if place is not None:
            return place
        place = len(self._kinds)
        line = json.dumps((kind, *key), separators=(",", ":")).encode() + b"\n"
        end_bytes = self._read_bytes + len(line)
        if place == SERIES_MAX or end_bytes > _KEYS_BYTES:
            return None
        self._keys[self._read_bytes : end_bytes] = line
        self.cells[place] = 0.0
        self._used[0] = self._read_bytes = end_bytes
        self._kinds.append(kind)
        self._places[key] = place
        return place

    def end_live(self) -> None:
        """Set what ends with its worker to 0."""
        for place, kind in enumerate(self._kinds):
            if kind == _LIVE:
                self.cells[place] = 0.0


class SharedValues:
    """Makes prometheus-client keep this process's values in its region, and read everybody's."""

    def __init__(self, series: SharedSeries, worker: int) -> None:
        """Open a worker's region. Nothing changes before `adopt`."""
        self._own = series.region(worker)
        self._own.refresh()
        self._all = [series.region(index) for index in range(series.count)]
        self._lock = Lock()
        self._unrecorded = self._own.add((UNRECORDED, "_total", ()), _STAYS)

    def adopt(self) -> None:
        """Keep in the region all values of metrics that are made from now on in this process."""
        values.ValueClass = partial(_SharedValue, self)
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would give the start of the worker that happens to answer

    def new_keys(self) -> Iterator[Key]:
        """Yield the key of every series that any worker has made since the last call."""
        for region in self._all:
            yield from region.refresh()

    def read(self, key: Key) -> float:
        """Return a value, added up over all workers. Not for threads."""
        return sum(region.read(key) for region in self._all)

    def place(self, key: Key, kind: str) -> int | None:
        """Return where this worker's value is, made where it is missing; None where none fits."""
        with self._lock:
            return self._own.add(key, kind)

    def change(self, place: int, amount: float) -> None:
        """Add to a value of this worker."""
        with self._lock:
            self._own.cells[place] += amount

    def set(self, place: int, value: float) -> None:
        """Replace a value of this worker."""
        self._own.cells[place] = value

    def miss(self) -> None:
        """Count an update that found no room."""
        if self._unrecorded is not None:
            self.change(self._unrecorded, 1)


class _SharedValue:
    """What prometheus-client writes to and reads from: its own classes' methods, by its names."""

    __slots__ = ("_key", "_kind", "_place", "_values")

    def __init__(
        self,
        shared: SharedValues,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],  # noqa: ARG002
        labelvalues: Sequence[str],
        help_text: str,  # noqa: ARG002
        multiprocess_mode: str = "",
    ) -> None:
        self._values = shared
        self._key: Key = (metric_name, name.removeprefix(metric_name), tuple(labelvalues))
        self._kind = _KINDS[typ, multiprocess_mode]
        self._place: int | None = None
        """None until the first update: a scrape makes values for the labels that others have."""

    def inc(self, amount: float) -> None:
        """Add to this worker's value."""
        place = self._place if self._place is not None else self._find_place()
        if place is None:
            self._values.miss()
        else:
            self._values.change(place, amount)

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002
        """Replace this worker's value."""
        place = self._place if self._place is not None else self._find_place()
        if place is None:
            self._values.miss()
        else:
            self._values.set(place, value)

    def _find_place(self) -> int | None:
        self._place = self._values.place(self._key, self._kind)
        return self._place

    def get(self) -> float:
        """Return the value of the whole daemon."""
        return self._values.read(self._key)

    def set_exemplar(self, exemplar: object) -> None:
        """Exemplars are not kept."""

    def get_exemplar(self) -> None:
        """Exemplars are not kept."""
