"""Charts of a run, as SVG that needs nothing: bars, grouped by case, one colour a subject."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Key
from bench.report import figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.journal import Journal

_COLOURS = {
    "blobd": "#2266aa",
    "blobd, 2 workers": "#66aadd",
    "floor": "#888888",
    "nginx": "#44aa77",
    "docker-registry": "#dd8844",
    "the disk itself": "#888888",
    "boto3": "#44aa77",
    "boto3, bodies unsigned": "#88ccaa",
}
_SPARE_COLOURS = ("#aa4499", "#999933", "#882255", "#117733")
_WIDTH, _LEFT, _RIGHT = 860, 250, 90
_BAR, _GAP, _TOP = 15, 12, 64


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: which figures, under which file name."""

    file: str
    title: str
    part: str
    metric: str
    only: str = ""
    """Cases with this in their name; all if empty."""


CHARTS = (
    Chart("upload-cpu", "Upload: server CPU, s/GiB (less is better)", "upload", metric.CPU),
    Chart("upload-speed", "Upload: MiB/s (more is better)", "upload", metric.SPEED),
    Chart("download-cpu", "Download: server CPU, s/GiB (less is better)", "download", metric.CPU),
    Chart("download-speed", "Download: MiB/s (more is better)", "download", metric.SPEED),
    Chart("small-keep-alive", "Small blobs: requests/s", "small", metric.RATE, "keep-alive"),
    Chart("small-new", "Small blobs: requests/s, new connections", "small", metric.RATE, "new"),
    Chart("commit", "Last byte to 201 on disk, ms (less is better)", "commit", metric.COMMIT),
    Chart("memory", "Resident memory at its peak, MiB (less is better)", "memory", metric.MEMORY),
    Chart("idle", "One fast client alone and beside a crowd: MiB/s", "idle", metric.SPEED),
    Chart("s3-speed", "On S3: MiB/s (more is better)", "s3", metric.SPEED),
    Chart("s3-cpu", "On S3: CPU but the engine's, s/GiB (less is better)", "s3", metric.CPU),
    Chart("s3-commit", "On S3: last body byte to 201, ms (less is better)", "s3", metric.COMMIT),
    Chart("s3-memory", "On S3: resident memory at its peak, MiB", "s3", metric.MEMORY),
    Chart("growth", "HEAD in a growing store: requests/s", "growth", metric.RATE),
)


def draw(journal: Journal, folder: Path) -> list[Path]:
    """Write every chart that this run has figures for; return their files."""
    written = []
    for chart in CHARTS:
        keys = [
            key
            for key in journal.keys
            if (key.part, key.metric) == (chart.part, chart.metric) and chart.only in key.case
        ]
        if keys:
            path = folder / f"{chart.file}.svg"
            path.write_text("\n".join(_svg(chart, journal, keys)) + "\n")
            written.append(path)
    return written


def _svg(chart: Chart, journal: Journal, keys: Sequence[Key]) -> Iterator[str]:
    cases = list(dict.fromkeys(key.case for key in keys))
    subjects = list(dict.fromkeys(key.subject for key in keys))
    spare = iter(_SPARE_COLOURS)
    colours = {name: _COLOURS.get(name) or next(spare, "#444444") for name in subjects}
    most = max(journal.median(key) or 0.0 for key in keys) or 1.0
    height = _TOP + len(keys) * _BAR + len(cases) * _GAP + 8
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">'
    )
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    yield f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(chart.title)}</text>'
    x = 10.0
    for name in subjects:
        yield f'<rect x="{x:.0f}" y="36" width="11" height="11" fill="{colours[name]}"/>'
        yield f'<text x="{x + 16:.0f}" y="46">{escape(name)}</text>'
        x += 34 + 7 * len(name)
    y = _TOP
    for case in cases:
        group = [name for name in subjects if Key(chart.part, case, name, chart.metric) in keys]
        middle = y + len(group) * _BAR / 2 + 4
        yield f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(case)}</text>'
        for name in group:
            value = journal.median(Key(chart.part, case, name, chart.metric)) or 0.0
            length = (_WIDTH - _LEFT - _RIGHT) * value / most
            yield (
                f'<rect x="{_LEFT}" y="{y + 1}" width="{max(length, 1):.1f}" '
                f'height="{_BAR - 2}" fill="{colours[name]}"/>'
            )
            yield f'<text x="{_LEFT + length + 5:.1f}" y="{y + 12}">{figure(value)}</text>'
            y += _BAR
        y += _GAP
    yield "</svg>"
