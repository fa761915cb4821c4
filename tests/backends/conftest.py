"""Every test here runs on the loop that ships and on the one that Python brings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytest.register_assert_rewrite(
    "tests.cancellation",
    "tests.backends.contract",
    "tests.backends.contract_blobs",
    "tests.backends.contract_cancelled",
    "tests.backends.contract_stagings",
    "tests.backends.contract_takeover",
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
