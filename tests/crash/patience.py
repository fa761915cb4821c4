"""Waiting for what shows no other sign than that it is so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.backends.acts import off_loop

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(is_so: Callable[[], bool], *, within_s: float = 30) -> None:
    """Look again and again, on a thread. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            if await off_loop(is_so):
                return
            await asyncio.sleep(0.02)
