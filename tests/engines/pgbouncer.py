"""pgbouncer as Debian ships it, between blobd and the tests' PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from tests.daemon import which
from tests.engines.ports import free_port
from tests.engines.postgres import USER, account, as_somebody
from tests.engines.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.postgres import Postgres

_CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/userlist.txt
pool_mode = {mode}
{settings}
"""


class Pgbouncer:
    """One pooler in front of all databases of a server."""

    def __init__(self, server: Postgres, folder: Path, *, mode: str, settings: str) -> None:
        program = which("pgbouncer")
        assert program is not None, "there is no pgbouncer here"
        self._port = free_port()
        (folder / "userlist.txt").write_text(f'"{USER}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            _CONFIG.format(
                server_port=server.port,
                port=self._port,
                folder=folder,
                mode=mode,
                settings=settings,
            )
        )
        self._process = Process(
            "pgbouncer",
            [*as_somebody(), program, folder / "pgbouncer.ini"],
            log=folder / "log",
        )

    def start(self) -> None:
        """Start, and return once it takes connections."""
        self._process.start()
        self._process.wait(self._answers)

    def stop(self) -> None:
        """Stop at once, whatever clients are doing."""
        self._process.stop(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()

    def url(self, direct: str) -> str:
        """Return the way through this pooler to a database whose own URL is given."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}{urlsplit(direct).path}"

    def _answers(self) -> bool:
        try:
            asyncio.run(_connect(self.url("//x/pgbouncer")))
        except (OSError, TimeoutError):
            return False
        except asyncpg.PostgresError:
            return True  # its own database is for administrators
        return True


async def _connect(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=5)
    await connection.close()


@contextmanager
def running_pgbouncer(server: Postgres, *, mode: str, settings: str = "") -> Iterator[Pgbouncer]:
    """Run a pooler; `settings` are further lines of its file."""
    folder = Path(tempfile.mkdtemp(prefix="blobd-pgbouncer-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, account())
        pooler = Pgbouncer(server, folder, mode=mode, settings=settings)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()
    finally:
        shutil.rmtree(folder)
