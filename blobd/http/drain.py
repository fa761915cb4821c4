"""Reading on after a refusal, so that the client gets to read it.

A client or proxy that sends all of a body before it reads anything (Apache's is one) sees a broken
connection in place of the answer if nobody takes the body. Most stop at once when the answer comes;
for them a short drain is enough, and anybody may have one. Going on to the bounds of
`limits.refused_drain_bytes` and `limits.refused_drain_s` is for a few at a time, so that hostile
clients cannot keep more than those busy, and one account no more than its share of them
(`../fairness.py`): a body that finds no place is cut off after the short drain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from blobd.errors import BodyBroken, BodyIdle
from blobd.fairness import FairPool, acting_for
from blobd.http.bodies import SCRATCH_BYTES

if TYPE_CHECKING:
    from blobd.config import Limits
    from blobd.http.bodies import TakenBody
    from blobd.metrics import Metrics

_SHORT_BYTES = 64 * 1024 * 1024
_SHORT_S = 10.0
_LONG_DRAINS_MAX = 16


class Drains:
    """Throws bodies away. One per front and process."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._long = FairPool(
            _LONG_DRAINS_MAX, share=limits.account_share, wait_s=0, what="refused bodies"
        )

    async def drain(self, body: TakenBody) -> None:
        """Read a body and throw it away, to its end or to a bound. Raises nothing.

        Holds 256 KiB while it runs. If cancelled, reading stops at once.
        """
        loop, account = asyncio.get_running_loop(), acting_for()
        started, before_bytes = loop.time(), body.received_bytes
        limit_s, limit_bytes = self._limits.refused_drain_s, self._limits.refused_drain_bytes
        scratch = memoryview(bytearray(SCRATCH_BYTES))
        is_long = False
        try:
            async with asyncio.timeout(min(limit_s, _SHORT_S)) as bound:
                while body.received_bytes - before_bytes < limit_bytes and await body.ready():
                    await body.discard_some(scratch)
                    is_short = (
                        body.received_bytes - before_bytes < _SHORT_BYTES
                        and loop.time() - started < _SHORT_S / 2
                    )
                    if is_long or is_short:
                        continue
                    is_long = self._long.try_take(account)
                    if not is_long:
                        return
                    bound.reschedule(started + limit_s)
        except (TimeoutError, BodyBroken, BodyIdle):
            pass
        finally:
            if is_long:
                self._long.give(account)
            self._metrics.discarded_bytes.inc(body.received_bytes - before_bytes)
