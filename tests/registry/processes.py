"""Starting workers (`workers.py`) in processes of their own, and ending them whatever happens."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.registry.acts import url_of

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from blobd.database.opening import Server

ROOT = Path(__file__).parents[2]
SOON_S = 60.0


class Worker:
    """One process and its lines."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def line(self) -> str:
        """Return the next line it writes; empty when it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(SOON_S):
            return (await self._process.stdout.readline()).decode().strip()

    async def start(self) -> None:
        """Let it begin, once it is ready."""
        assert await self.line() == "ready"
        self._tell(b"go\n")

    async def rest(self) -> list[str]:
        """Return all that it still writes, having waited for its end; it must end well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        async with asyncio.timeout(SOON_S):
            lines = (await self._process.stdout.read()).decode().split("\n")
            assert await self._process.wait() == 0
        return [line for line in lines if line]

    async def kill(self) -> list[str]:
        """End it without a chance to say goodbye; return what it had written until then."""
        assert self._process.stdout is not None
        self._process.kill()
        await self._process.wait()
        text = (await self._process.stdout.read()).decode()
        return text.split("\n")[:-1]

    def _tell(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)


@asynccontextmanager
async def worker(
    verb: str, folder: Path, place: Path | Server, *numbers: int
) -> AsyncIterator[Worker]:
    """Run a worker; it is killed at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.registry.workers",
        verb,
        str(folder),
        url_of(place),
        *map(str, numbers),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
