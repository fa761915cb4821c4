"""The receive room runs on the loop that ships and on the one that Python brings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.http.room import Room

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(params=LOOPS)
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    with Room(LOOPS[request.param]) as room:
        yield room
