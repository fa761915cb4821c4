"""PostgreSQL with all that makes it durable, for the catalog."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import asyncpg

from tests.daemon import which
from tests.engines.ports import free_port
from tests.engines.process import EngineFailed, Process

_DEBIAN = Path("/usr/lib/postgresql")
_ACCOUNTS = ("postgres", "nobody")
"""Who runs it where root would: it refuses to run as root."""
_SETTINGS = ("listen_addresses=127.0.0.1", "shared_buffers=32MB", "log_line_prefix=%m [%p] ")
USER = "blobd"


def programs() -> Path | None:
    """Return the folder of initdb and postgres, the newest version's, or None."""
    if found := which("initdb"):
        return Path(found).parent
    folders = [path.parent for path in _DEBIAN.glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


class Postgres:
    """One server with any number of databases, as a context manager that removes it all."""

    def __init__(self) -> None:
        found = programs()
        assert found is not None, "there is no PostgreSQL here"
        self._programs = found
        self._folder = Path(tempfile.mkdtemp(prefix="blobd-pg-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self.port = free_port()
        self._process = Process(
            "postgres",
            [
                *as_somebody(),
                found / "postgres",
                f"-D{self._data}",
                f"-p{self.port}",
                f"-k{self._folder}",
                *(f"-c{setting}" for setting in _SETTINGS),
            ],
            log=self._log,
        )

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    def said(self, text: str) -> int:
        """Return how often its log has a text, since its last start."""
        return self._log.read_text(errors="replace").count(text)

    # Life

    def start(self) -> None:
        """Start on what is there, and return once queries are answered."""
        self._process.start()
        self._process.wait(self._answers)

    def stop(self) -> None:
        """Stop in order, without waiting for clients."""
        self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """Kill -9 all of its processes."""
        self._process.kill()

    # Databases

    def create_database(self, template: str | None = None) -> str:
        """Make a database, empty or as another is; return its URL, as `catalog.url` takes it."""
        name = f"blobd_{secrets.token_hex(6)}"
        source = "template1" if template is None else _name_in(template)
        asyncio.run(self._run(f"CREATE DATABASE {name} TEMPLATE {source}"))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever still uses it."""
        asyncio.run(self._run(f"DROP DATABASE {_name_in(url)} WITH (FORCE)"))

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user=USER, database="postgres", timeout=5
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _answers(self) -> bool:
        try:
            asyncio.run(self._run("SELECT 1"))
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        return True

    # Its folder

    def _make(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._folder, account())
        made = subprocess.run(
            [
                *as_somebody(),
                self._programs / "initdb",
                f"--pgdata={self._data}",
                f"--username={USER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise EngineFailed(f"initdb: {made.stdout}{made.stderr}")

    def _remove(self) -> None:
        self._process.kill()
        shutil.rmtree(self._folder)


def account() -> str:
    """Return who runs what refuses to run as root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _ACCOUNTS if name in known)


def as_somebody() -> list[str]:
    """Return the start of a command that must not run as root."""
    if os.geteuid() != 0:
        return []
    somebody = pwd.getpwnam(account())
    ids = (f"--reuid={somebody.pw_uid}", f"--regid={somebody.pw_gid}")
    return ["setpriv", *ids, "--clear-groups", "--"]


def _name_in(url: str) -> str:
    name = url.rpartition("/")[2]
    assert re.fullmatch(r"blobd_[0-9a-f]+", name)
    return name
