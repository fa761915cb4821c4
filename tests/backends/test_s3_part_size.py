"""How large the parts of an upload are made for an engine."""

from __future__ import annotations

import pytest

from blobd.backends.s3.backend import part_size_of
from blobd.config import Config, Limits, Store

MIB = 1024 * 1024
PART = 64 * 1024


@pytest.mark.parametrize(
    ("limit_bytes", "most_parts", "memory_bytes", "size_bytes", "said"),
    [
        (10_000_000_000, 10_000, 256 * MIB, 8 * MIB, ""),
        (10_000_000_000, 1_000, 256 * MIB, 170 * PART, "parts are"),
        (200_000_000_000, 10_000, 256 * MIB, 340 * PART, "parts are"),
        (10_000_000_000, 1_000, 12 * MIB, 9 * MIB, "become several objects"),
        (10_000_000_000, 1_000, 4 * MIB, 8 * MIB, "become several objects"),
    ],
)
def test_parts_are_as_large_as_the_largest_blob_wants(
    limit_bytes: int,
    most_parts: int,
    memory_bytes: int,
    size_bytes: int,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Issue: part sizes follow what the engine takes; what cannot fit is said at the start."""
    caplog.set_level("INFO", logger="blobd.s3")
    limits = Limits(max_blob_bytes=limit_bytes, bytes_in_flight_max_bytes=memory_bytes)
    config = Config(store=Store(backend="s3"), limits=limits)
    assert part_size_of(config, most_parts) == size_bytes
    assert said in caplog.text
    assert len(caplog.records) == bool(said)
