"""The time by which jobs remove things: it does not jump, and knows when clocks disagree.

A wall clock that is 40 days ahead for eight seconds makes everything old. So nothing is called old
by it alone. The time for that is the wall clock of a moment at which it was believed, and goes on
with the boot clock, which nobody sets. The two are compared every second, and with the database's
clock before each run. Where they disagree, jobs stand still, and one warning says so; they go on
once the clocks have run alike for `upkeep.clock_settle_s`, by the old time or by the new one. So a
clock that was corrected for good is believed later, and one that jumped to and fro never.

Nothing is kept over a restart. A daemon that starts long after the last trace of an earlier one in
its folder, or before it, cannot distinguish a long rest from a wrong clock: it waits for as long.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from blobd.errors import BlobdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

TOLERANCE_S = 60.0
"""What clocks may differ by; a correction by less is taken over at once."""
_TAKEN_OVER_EVERY_S = 3600.0
"""So that many small corrections do not add up unseen."""
_LONG_REST_S = 3600.0

_log = logging.getLogger("blobd.upkeep")


def boot_clock() -> float:
    """Return the seconds since the machine was started, those included for which it was asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def newest_trace(paths: Iterable[Path]) -> float | None:
    """Return when any of these files or folders was last written; None where there are none."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append(path.stat().st_mtime)
    return max(found, default=None)


class SteadyClock:
    """One per process. `look` is to be called every second."""

    def __init__(
        self,
        *,
        settle_s: float,
        trace_at: float | None = None,
        database_now: Callable[[], Awaitable[float | None]] | None = None,
        wall_clock: Callable[[], float] = time.time,
        even_clock: Callable[[], float] = boot_clock,
    ) -> None:
        """Start with the wall clock as it is.

        `trace_at`: when an earlier daemon last wrote here. `database_now` returns the time of a
        database that has a clock of its own, or None; it may raise what the catalog raises.
        """
        self._settle_s = settle_s
        self._database_now = database_now
        self._wall_clock = wall_clock
        self._even_clock = even_clock
        self._believed = self._observed = self._offset()
        self._believed_at = even_clock()
        self._alike_since = -math.inf
        self._warned = False
        rest_s = 0.0 if trace_at is None else wall_clock() - trace_at
        if rest_s > _LONG_REST_S or rest_s < -TOLERANCE_S:
            self._alike_since = self._believed_at
            _log.info(
                "nothing is removed for %g s: the last trace of a daemon here is %.0f s %s, "
                "and the clock may be wrong",
                settle_s,
                abs(rest_s),
                "old" if rest_s > 0 else "ahead",
            )

    def now(self) -> float:
        """Return seconds since the epoch by which to call things old.

        Going on evenly from when the wall clock was believed, but never ahead of it: what is
        removed is old by both.
        """
        return min(self._wall_clock(), self._even_clock() + self._believed)

    def look(self) -> bool:
        """Compare the wall clock with the boot clock; return whether it is believed."""
        even, offset = self._even_clock(), self._offset()
        if abs(offset - self._observed) > TOLERANCE_S:
            self._disagree(f"the system clock jumped by {offset - self._observed:+.0f} s", even)
            self._observed = offset
        if even - self._alike_since < self._settle_s:
            return False
        if abs(offset - self._believed) > TOLERANCE_S or (
            even - self._believed_at > _TAKEN_OVER_EVERY_S
        ):
            self._believed = self._observed = offset
            self._believed_at = even
        return True

    async def agrees(self) -> bool:
        """Return whether jobs may remove what is old by `now`: all clocks agree.

        A database that cannot be asked agrees with nothing.
        """
        if not self.look():
            return False
        try:
            database_s = None if self._database_now is None else await self._database_now()
        except BlobdError as error:
            _log.warning("nothing is removed, the database's clock cannot be read: %s", error)
            return False
        if not self.look():  # the answer took its time
            return False
        ahead_s = 0.0 if database_s is None else database_s - self.now()
        if abs(ahead_s) > TOLERANCE_S:
            self._disagree(
                f"the database's clock is {ahead_s:+.0f} s from this machine's", self._even_clock()
            )
            return False
        if self._warned:
            self._warned = False
            _log.info("the clocks agree: jobs that remove go on")
        return True

    def _disagree(self, what: str, since: float) -> None:
        self._alike_since = since
        if not self._warned:
            self._warned = True
            _log.warning(
                "nothing is removed until the clocks have agreed for %g s: %s; check NTP here",
                self._settle_s,
                what,
            )

    def _offset(self) -> float:
        return self._wall_clock() - self._even_clock()
