"""Printing: tables for people, JSON for scripts, sizes both can read."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def as_json(document: object) -> None:
    """Print a document for a script."""
    click.echo(json.dumps(document, indent=2))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns; on a terminal they fit its width, elsewhere nothing is cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    printed = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in printed.columns:
        column.overflow = "fold"
    for row in rows:
        printed.add_row(*map(Text, row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000)
    console.print(printed)


def records(headers: Sequence[str], rows: Iterable[Sequence[str]], *, as_json: bool) -> None:
    """Print rows as a table, or as a list of objects for a script."""
    if as_json:
        names = [header.replace(" ", "_") for header in headers]
        found = [dict(zip(names, row, strict=True)) for row in rows]
        click.echo(json.dumps(found, indent=2))
    else:
        table(headers, rows)


def moment(at: float) -> str:
    """Return a moment as people and scripts read it."""
    return datetime.fromtimestamp(int(at), UTC).isoformat()


def size(size_bytes: int) -> str:
    """Return a size as a person reads it."""
    value = float(size_bytes)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"


def age(since: float) -> str:
    """Return how long ago a moment was, coarsely."""
    seconds = max(time.time() - since, 0)
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
