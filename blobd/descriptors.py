"""How many files this process may have open, and how many connections that leaves room for."""

from __future__ import annotations

import resource

from blobd.errors import ConfigInvalid

LEAST = 256
RESERVE = 16
"""Connections beyond the limit that the blob API may have, so that operators still get answers."""
_OWN = 160
"""What a worker opens besides: its libraries, listening sockets, catalog, calls to S3, the
reserve, and connections that are being refused."""


def raise_limit() -> int:
    """Raise the soft limit on open files to the hard one; return it.

    The soft limit is 1024 on most systems for programs that use select(2); this one does not.
    Raises ConfigInvalid where a worker could not serve with what is allowed.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < LEAST:
        raise ConfigInvalid(
            f"this process may open {hard} files (ulimit -n); a worker needs {LEAST} at least: "
            "raise LimitNOFILE of its unit"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_for(files: int, *, max_uploads: int) -> int:
    """Return how many connections a process may have that may open so many files.

    A connection that receives an upload has its socket, the upload's bytes and its lock; any other
    one has its socket and at most a blob. So C connections with U uploads among them need 2C + U.
    """
    left = files - _OWN
    return max(left // 3, (left - max_uploads) // 2)
