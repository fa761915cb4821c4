"""Run a client's commands in a home of its own, away from what this machine's clients know."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from tests.daemon import which

_WITHIN_S = 1800
_SYSTEM_STORE = Path("/var/lib/containers")
"""Where skopeo, podman and buildah, run by root, remember layers; no option moves it."""


class CommandFailed(Exception):
    """A command ended with an exit code other than 0; the message holds what it said."""


class Home:
    """A folder that a client takes for its user's home, with nothing known and nobody logged in."""

    def __init__(
        self, folder: Path, *, docker_config: Path | None = None, programs: Path | None = None
    ) -> None:
        """Make a home in an empty folder.

        `docker_config` is a folder whose `config.json` is the auth file, for docker and others;
        what is in the folder `programs` is run instead of the system's.
        """
        self.folder = folder
        self._docker_config = docker_config
        self._programs = programs
        self.system_store = folder / "var-lib-containers"
        self.system_store.mkdir()
        (folder / "tmp").mkdir()

    @property
    def environment(self) -> dict[str, str]:
        shared = {}
        if self._docker_config is not None:
            shared = {
                "DOCKER_CONFIG": str(self._docker_config),
                "REGISTRY_AUTH_FILE": str(self._docker_config / "config.json"),
            }
        return shared | {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self.folder),
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, program: str, *arguments: str | Path) -> str:
        """Return what a command prints. Raises CommandFailed."""
        done = subprocess.run(
            self.command(program, *arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_WITHIN_S,
        )
        if done.returncode != 0:
            words = " ".join(map(str, (program, *arguments)))
            raise CommandFailed(f"{words}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        """Return the words that run a program with mounts of its own, which end with it."""
        own = None if self._programs is None else self._programs / program
        found = own if own is not None and own.exists() else which(program)
        words = [str(found or program), *map(str, arguments)]
        if not _may_mount():
            return words
        hide = f'mount --bind "$0" {_SYSTEM_STORE} && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", hide, str(self.system_store), *words]


@cache
def _may_mount() -> bool:
    if os.geteuid() != 0:
        return False
    _SYSTEM_STORE.mkdir(parents=True, exist_ok=True)
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
