"""A target beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass

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
