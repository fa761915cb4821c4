"""Times as GitHub writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: float) -> str:
    """Return a moment, in seconds since 1970, in UTC and to the second (RFC 3339)."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
