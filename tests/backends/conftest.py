"""Tests here run on the loop that ships and on the one that Python brings."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytest.register_assert_rewrite(
    "tests.cancellation",
    "tests.backends.contract",
    "tests.backends.contract_blobs",
    "tests.backends.contract_cancelled",
    "tests.backends.contract_quarantine",
    "tests.backends.contract_stagings",
    "tests.backends.contract_takeover",
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("one_loop"):
        del loops["asyncio"]
    return loops


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory where there is one: folders are made there in no time."""
    ram = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="blobd-test-", dir=ram if ram.is_dir() else None
    ) as folder:
        yield Path(folder)
