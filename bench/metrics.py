"""What blobd says of itself: its metrics, read before and after."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from bench.servers import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.servers import Server

Buckets = dict[float, float]
"""Cumulated counts by upper bound in seconds."""


def read_metric(server: Server, name: str, **labels: str) -> float:
    """Return a metric added up over the labels not given."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    total = 0.0
    for series, value in _series(server):
        series_name, _, series_labels = series.rstrip("}").partition("{")
        if series_name == name and wanted <= set(series_labels.split(",")):
            total += value
    return total


def loop_lag(server: Server) -> Buckets | None:
    """Return blobd's histogram of event-loop lag; None for other servers."""
    if not server.api_port:
        return None
    found: Buckets = {}
    for series, value in _series(server):
        if series.startswith("blobd_loop_lag_seconds_bucket{"):
            bound = float(series.partition('le="')[2].partition('"')[0])
            found[bound] = found.get(bound, 0.0) + value
    return found


def lag_added(total: Buckets, before: Buckets, after: Buckets | None) -> Buckets:
    """Return a histogram with what came between two readings added to it."""
    return {
        bound: total.get(bound, 0.0) + count - before.get(bound, 0.0)
        for bound, count in (after or {}).items()
    }


def lag_p99_ms(buckets: Mapping[float, float]) -> float:
    """Return the 99th percentile in milliseconds, read linearly inside its bucket."""
    wanted = 0.99 * max(buckets.values(), default=0.0)
    low_s = low_count = 0.0
    for bound_s, count in sorted(buckets.items()):
        if count >= wanted and count > low_count:
            if bound_s == float("inf"):
                return low_s * 1000
            share = (wanted - low_count) / (count - low_count)
            return (low_s + (bound_s - low_s) * share) * 1000
        low_s, low_count = bound_s, count
    return 0.0


def _series(server: Server) -> list[tuple[str, float]]:
    with urllib.request.urlopen(f"http://{HOST}:{server.api_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return [
        (series, float(value))
        for series, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    ]
