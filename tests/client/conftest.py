"""A scripted server per test, and a client that does not wait long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.client import Client, Retries
from tests.client.scripted import Script, scripted_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = Retries(in_a_row=3, first_delay_s=0.001, max_delay_s=0.01)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with scripted_server() as script:
        yield script


@pytest.fixture
async def client(script: Script) -> AsyncIterator[Client]:
    async with Client(script.address, retries=QUICK) as client:
        yield client
