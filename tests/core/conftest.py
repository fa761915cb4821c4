"""The layers below HTTP are tested on the loop that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import uvloop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

pytest.register_assert_rewrite("tests.core.hall", "tests.core.scripted")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
