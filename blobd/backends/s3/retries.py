"""When a request to the engine is sent again: the one policy, for requests and for downloads.

A failure that may pass starts a budget of time, `s3.retry_budget_s`. Until it is spent the request
is sent again, after waits that double from a tenth of a second to a few seconds, each with jitter,
so that uploads that failed together do not come back together. Retry-After is obeyed: no request is
sent earlier, and where it asks for more than is left of the budget, none is sent at all. Nothing is
shared between requests: one that fails for long takes no attempts from the next.

The waits are on threads, and end at once when no caller wants the result (`threads.py`).
"""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from blobd.threads import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 3.0


class Retries:
    """The waits between the attempts of one request. For one thread at a time."""

    def __init__(
        self,
        budget_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] = pause,
    ) -> None:
        self._budget_s = budget_s
        self._clock = clock
        self._wait = wait
        self._end_s: float | None = None
        self._longest_s = FIRST_WAIT_S

    def again(self, retry_after_s: float = 0.0) -> bool:
        """Wait after a failure; return whether the request is to be sent again. Blocks.

        The last attempt begins when the budget ends. False comes at once.
        """
        now_s = self._clock()
        if self._end_s is None:
            self._end_s = now_s + self._budget_s
        left_s = self._end_s - now_s
        if left_s <= 0 or retry_after_s > left_s:
            return False
        jittered_s = self._longest_s * random.uniform(0.5, 1)  # noqa: S311 spreads a herd
        wait_s = retry_after_s + jittered_s if retry_after_s else jittered_s
        self._longest_s = min(2 * self._longest_s, LONGEST_WAIT_S)
        return self._wait(min(wait_s, left_s))


def retry_after_s(fields: Mapping[str, str]) -> float:
    """Return for how long an answer asks to wait (RFC 9110 section 10.2.3), 0 where it does not.

    `fields` has lower-case names. A date counts from the engine's own clock, where it shows one.
    """
    value = fields.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until_s = _seconds_of(value)
    if until_s is None:
        return 0.0
    now_s = _seconds_of(fields.get("date", ""))
    return max(0.0, until_s - (time.time() if now_s is None else now_s))


def _seconds_of(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
