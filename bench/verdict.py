"""A target beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.journal import Journal, Key

TIMES = "\N{MULTIPLICATION SIGN}"
"""The unit of a ratio."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured."""

    text: str
    measured: float
    limit: float
    at_most: bool
    unit: str
    """TIMES for a ratio."""

    @property
    def reached(self) -> bool:
        """Whether the target was reached."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


def ratio(
    journal: Journal, text: str, key: Key, reference: Key, limit: float, *, at_most: bool = True
) -> Iterator[Verdict]:
    """Yield a verdict on a figure's ratio to another of the same run, where both were measured."""
    value, base = journal.median(key), journal.median(reference)
    if value is not None and base:
        yield Verdict(text, value / base, limit, at_most, TIMES)


def plain(journal: Journal, text: str, key: Key, limit: float, unit: str) -> Iterator[Verdict]:
    """Yield a verdict on a figure that is to be at most so large, where it was measured."""
    value = journal.median(key)
    if value is not None:
        yield Verdict(text, value, limit, at_most=True, unit=unit)
