"""Failed logins, and how many of them an address may have.

Each address has a bucket of failures that drains with time (a token bucket, in one process).
What it stops is guessing; a login that succeeds costs nothing, so a build farm behind one address
is not slowed down. Secrets have 128 bits and more, so the bucket may be generous.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from blobd.errors import TooManyFailures

if TYPE_CHECKING:
    from collections.abc import Callable

BURST = 20
"""Failures in a row before an address has to wait."""
REGAIN_S = 3.0
"""How long it takes to earn one more."""
_ADDRESSES_MAX = 10_000


class Attempts:
    """Counts failed logins by address. For one event loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When an address will have earned all of its failures back."""

    def check(self, address: str) -> None:
        """Raise TooManyFailures when an address has none left."""
        wait_s = self._full_at.get(address, 0.0) - self._clock() - (BURST - 1) * REGAIN_S
        if wait_s > 0:
            raise TooManyFailures(wait_s)

    def failed(self, address: str) -> None:
        """Count a failure."""
        now = self._clock()
        self._full_at[address] = max(self._full_at.pop(address, now), now) + REGAIN_S
        if len(self._full_at) > _ADDRESSES_MAX:
            self._full_at.popitem(last=False)
