"""How many connections a process has, and who gives way when there are too many.

A process that has used up its descriptors can accept nobody, and says so to nobody. So connections
stop below that limit: a new one then takes the place of the one that has been idle for longest
(between two requests, or before its first byte), and where none is idle it is answered 503. A
client that sends a request at once is therefore served or answered, however many connections are
idle.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from blobd.metrics import Metrics

_REFUSED_MAX = 32
"""Connections beyond the limit that wait for their 503; what comes beyond these is reset."""
_WARN_EVERY_S = 60.0

_log = logging.getLogger("blobd.connections")


class Closable(Protocol):
    """A connection, as far as it matters here."""

    def force_close(self) -> None:
        """Close it; what was written is still sent."""
        ...


class Connections:
    """The connections of one process, of all its fronts. For one event loop."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit = limit
        self._metrics = metrics
        self._open: set[Closable] = set()
        self._refused: set[Closable] = set()
        self._idle: dict[Closable, None] = {}
        """Those that can be closed without breaking anything off, the longest idle first."""
        self._warned_at = float("-inf")
        metrics.connections_max.set(limit)

    def opened(self, connection: Closable, *, reserve: int = 0) -> bool | None:
        """Count a new connection; return whether it may be served, by a reserve beyond the limit.

        False: it may be answered 503. None: not even that, and it is not counted.
        """
        if len(self._open) >= self.limit + reserve and not self._close_idle():
            self._warn()
            self._metrics.connections_refused.inc()
            if len(self._refused) >= _REFUSED_MAX:
                return None
            self._refused.add(connection)
            return False
        self._open.add(connection)
        self._metrics.connections.set(len(self._open))
        return True

    def closed(self, connection: Closable) -> None:
        """Forget a connection."""
        self._refused.discard(connection)
        self._idle.pop(connection, None)
        self._open.discard(connection)
        self._metrics.connections.set(len(self._open))

    def idle(self, connection: Closable) -> None:
        """Note that a connection waits for a request of which no byte has come."""
        if connection in self._open:
            self._idle[connection] = None

    def busy(self, connection: Closable) -> None:
        """Note that it ended."""
        self._idle.pop(connection, None)

    def _close_idle(self) -> bool:
        """Close the connection that has been idle for longest; return whether there was one."""
        connection = next(iter(self._idle), None)
        if connection is None:
            return False
        self.closed(connection)
        connection.force_close()
        self._metrics.connections_closed_idle.inc()
        return True

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _WARN_EVERY_S:
            self._warned_at = now
            _log.warning(
                "this worker has %d connections, as many as its limit on open files allows, and "
                "none of them is idle: new ones are answered 503; raise LimitNOFILE (ulimit -n)",
                self.limit,
            )
