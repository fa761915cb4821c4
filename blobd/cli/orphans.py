"""What crashes have left, as commands print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.cli import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.backends.base import Orphan


def table(found: Sequence[Orphan]) -> None:
    """Print orphans, and which of them were removed."""
    show.table(
        ("kind", "what", "bytes", ""),
        (
            (
                orphan.kind,
                orphan.name,
                "" if orphan.size_bytes is None else show.size(orphan.size_bytes),
                "removed" if orphan.removed else "",
            )
            for orphan in found
        ),
    )
