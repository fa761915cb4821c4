"""A real `blobd serve`: started, stopped, killed, restarted, and looked at from outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import urlsplit

import blobd
from tests.engines.leash import below

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_START_WITHIN_S = 60
_STOP_WITHIN_S = 60
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SIGNS_OF_TROUBLE = ("Traceback (most recent", "was never awaited", "never retrieved")


def which(program: str) -> str | None:
    """Return where a program is, system folders and this Python's own included, or None."""
    own = Path(sys.executable).parent
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{own}")


class Daemon:
    """`blobd serve` on a data folder, as a context manager: runs inside, must have stopped well.

    Ports are chosen by the kernel at the first start and kept by every restart. After `kill` the
    daemon is down until `start`; leaving the context while it is down is fine.
    """

    def __init__(
        self,
        data: Path,
        *,
        settings: Mapping[str, str] | None = None,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
        listen: str = "127.0.0.1:0",
        open_files: int | None = None,
        package: Path | None = None,
    ) -> None:
        """Prepare a daemon of one worker, open to everyone.

        Where `settings` (SECTION.NAME: value) do not say otherwise. `config` is a file of settings,
        which they override; `environment` holds more variables. `open_files` is how many files each
        of its processes may have open. An empty `listen` is for a daemon without the registry,
        and `package` the folder of a `blobd` that is not the one tested here.
        """
        self.data = data
        self._settings = {
            "server.workers": "1",
            "registry.auth": "false",
            "registry.trash_retention_s": "0",
            **(settings or {}),
        }
        self._config = () if config is None else (f"--config={config}",)
        self._environment = dict(environment or {})
        self._package = package
        if package is not None:
            self._environment["PYTHONPATH"] = str(package)
        self._listen, self._blob_api = listen, "127.0.0.1:0"
        self._wrapped = () if open_files is None else ("prlimit", f"--nofile={open_files}")
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self.stderr = ""
        """What the last finished run wrote to its standard error."""
        self.first_token: str | None = None
        """The secret of the first administrator's token, once a start has printed it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self.kill()
            sys.stderr.write(self.stderr)
        else:
            self.stop()

    # Addresses

    @property
    def registry(self) -> str:
        """host:port of the registry, as clients put it before a repository."""
        return self._listen

    @property
    def registry_url(self) -> str:
        return f"http://{self._listen}"

    @property
    def blob_api_url(self) -> str:
        return f"http://{self._blob_api}"

    # Life

    def start(self) -> None:
        """Start, and return once connections are accepted on both addresses."""
        assert self._process is None, "the daemon runs already"
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        settings = [f"--set={name}={value}" for name, value in self._settings.items()]
        addresses = [f"--listen={self._listen}", f"--blob-api={self._blob_api}"]
        self._process = subprocess.Popen(
            [
                *self._wrapped,
                *(sys.executable, "-m", "blobd", "serve", f"--data={self.data}"),
                *(*self._config, *addresses, *settings),
            ],
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=self._package,  # where -m looks first
            env=_environment() | self._environment,
        )
        try:
            self._read_addresses(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Send SIGTERM; check that the daemon ends with code 0 and without a traceback."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            code = self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {_STOP_WITHIN_S} s after SIGTERM") from None
        self._gone()
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.stderr}"
        trouble = [sign for sign in _SIGNS_OF_TROUBLE if sign in self.stderr]
        assert not trouble, f"the daemon's log has {trouble}:\n{self.stderr}"

    def kill(self) -> None:
        """Kill -9 every process of the daemon, as a crash would."""
        if self._process is None:
            return
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._gone()

    def restart(self) -> None:
        """Stop in order, and start again on the same folder and ports."""
        self.stop()
        self.start()

    def _read_addresses(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        watchdog = threading.Timer(_START_WITHIN_S, process.kill)
        watchdog.start()
        try:
            found = dict(_announced(process.stdout, last="try" if self._listen else "blob API"))
        finally:
            watchdog.cancel()
        self.first_token = found.pop("token", self.first_token)
        wanted = {"registry", "blob API"} if self._listen else {"blob API"}
        if found.keys() != wanted:
            self.kill()
            raise AssertionError(f"the daemon did not start, said {found}:\n{self.stderr}")
        self._listen, self._blob_api = found.get("registry", ""), found["blob API"]

    def _gone(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._stderr is not None
        self._process.stdout.close()
        self._stderr.seek(0)
        self.stderr = self._stderr.read()
        self._stderr.close()
        self._process = None

    # Looking at it

    def log(self) -> str:
        """Return what the running daemon has written to its standard error so far."""
        assert self._stderr is not None, "the daemon is down"
        return Path(f"/proc/self/fd/{self._stderr.fileno()}").read_text(encoding="utf-8")

    def pids(self) -> list[int]:
        """Return the process ids of the running daemon, its first process first."""
        assert self._process is not None, "the daemon is down"
        return [self._process.pid, *below(self._process.pid)]

    def rss_bytes(self) -> int:
        """Return the resident memory of all its processes."""
        return sum(_memory_bytes(pid, "VmRSS") for pid in self.pids())

    def peak_rss_bytes(self) -> int:
        """Return the most resident memory that each of its processes ever had, added up."""
        return sum(_memory_bytes(pid, "VmHWM") for pid in self.pids())

    def cpu_s(self) -> float:
        """Return the seconds of CPU, user and system, that its processes have used."""
        return sum(cpu_s(pid) for pid in self.pids())

    def open_files(self) -> list[str]:
        """Return what its processes have open, sockets and pipes included."""
        found = []
        for pid in self.pids():
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    found.append(str(descriptor.readlink()))
        return sorted(found)

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric, added up over the labels not given; 0 where it has not been counted."""
        with urllib.request.urlopen(f"{self.blob_api_url}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        total = 0.0
        for line in lines:
            series, _, value = line.rpartition(" ")
            series_name, _, series_labels = series.partition("{")
            if series_name == name and wanted <= set(series_labels.rstrip("}").split(",")):
                total += float(value)
        return total


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU, user and system, that a process has used."""
    _, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    user_ticks, system_ticks = rest.split()[11:13]
    return (int(user_ticks) + int(system_ticks)) / _TICKS_PER_S


def _environment() -> dict[str, str]:
    """Return this process's environment, less blobd's settings, finding the blobd tested here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBD_")}
    root = str(Path(blobd.__file__).parent.parent)
    return kept | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def _announced(lines: IO[str], *, last: str) -> Iterator[tuple[str, str]]:
    """Read what listens where and who may log in, up to the line with the last label."""
    while line := lines.readline():
        label, _, rest = line.rstrip("\n").partition("  ")
        match label:
            case "registry" | "blob API":
                yield label, urlsplit(rest.strip()).netloc
            case "token":
                yield label, rest.strip()
            case _:
                pass
        if label == last:
            return


def _memory_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {field}: is it alive?")
