"""Starting and stopping what is measured: blobd, the floor, docker-registry, nginx, and peers."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import blobd
from bench import processes
from bench.plan import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HOST = "127.0.0.1"
_START_WITHIN_S = 120.0
_STOP_WITHIN_S = 60.0
_LARGE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    port: int
    pid: int
    payload: Path
    """Where it puts bodies."""
    is_registry: bool
    """Whether it speaks the distribution protocol; else it takes plain PUTs and GETs."""
    api_port: int = 0
    """blobd's own front, with the metrics."""
    token: str = ""
    """Of blobd's first administrator, where it has identities."""
    start_s: float = 0.0
    """From the start of its process to its being ready."""

    def cpu_s(self) -> float:
        """Return the CPU its processes have used."""
        return processes.cpu_s(self.pid)

    @property
    def uploads(self) -> str:
        """The path to start an upload at, or to put to."""
        return f"/v2/{REPOSITORY}/blobs/uploads/" if self.is_registry else "/put"

    def blob(self, digest: str) -> str:
        """Return the path of a blob, or of what stands for it."""
        return f"/v2/{REPOSITORY}/blobs/{digest}" if self.is_registry else f"/{digest[7:]}"

    def large_files(self) -> set[Path]:
        """Return the large files it stores."""
        found = set()
        for folder, _, names in os.walk(self.payload):
            for name in names:
                path = Path(folder) / name
                with suppress(FileNotFoundError):
                    if path.stat().st_size >= _LARGE_BYTES:
                        found.add(path)
        return found

    def drop_payload(self, *, keep: frozenset[Path] = frozenset()) -> None:
        """Remove the large files it stored, from under it: memory and disk are wanted again."""
        for path in self.large_files() - keep:
            path.unlink(missing_ok=True)


@contextmanager
def running_blobd(
    folder: Path,
    *,
    workers: int,
    durability: str = "none",
    settings: Mapping[str, str] | None = None,
    name: str = "",
) -> Iterator[Server]:
    """Run `blobd serve` on a folder, kept as it is at the end; kernel-chosen ports."""
    folder.mkdir(parents=True, exist_ok=True)
    all_settings = {
        "server.workers": str(workers),
        "store.durability": durability,
        "limits.upload_timeout_s": "0",
        "registry.auth": "false",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "blobd", "serve", f"--data={folder}", f"--listen={HOST}:0"]
    command += [f"--blob-api={HOST}:0"]
    command += [f"--set={key}={value}" for key, value in all_settings.items()]
    start_s = time.monotonic()
    with _running(command, folder, stdout=subprocess.PIPE, env=_environment()) as process:
        ports, token = _announced(process)
        yield Server(
            name or (f"blobd, {workers} workers" if workers > 1 else "blobd"),
            port=ports["registry"],
            pid=process.pid,
            payload=folder / "blobs",
            is_registry=True,
            api_port=ports["blob API"],
            token=token,
            start_s=time.monotonic() - start_s,
        )


@contextmanager
def running_floor(folder: Path) -> Iterator[Server]:
    """Run the floor, which writes one file in the folder."""
    folder.mkdir(parents=True)
    port = _free_port()
    command = [sys.executable, "-m", "bench.floor", str(port), str(folder / "received")]
    with _running(command, folder, port=port, env=_environment()) as process:
        yield Server("floor", port, process.pid, folder, is_registry=False)


@contextmanager
def running_docker_registry(folder: Path, *, storage: str = "") -> Iterator[Server]:
    """Run Debian's docker-registry on a folder, or on the storage that a line of YAML names."""
    peer = ("docker-registry", "docker-registry serve {config}")
    with running_peer(peer, folder, storage=storage) as server:
        yield server


@contextmanager
def running_peer(peer: tuple[str, str], folder: Path, *, storage: str = "") -> Iterator[Server]:
    """Run another registry: {port}, {data} and {config} (distribution's YAML) are filled in."""
    name, command = peer
    data = folder / "data"
    data.mkdir(parents=True)
    port = _free_port()
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{{storage or f'filesystem: {{rootdirectory: {data}}}'}, "
        "delete: {enabled: true}}\n"
        f"http: {{addr: '{HOST}:{port}'}}\n"
    )
    words = [word.format(port=port, data=data, config=config) for word in shlex.split(command)]
    # Some Go programs end at once where AWS_CA_BUNDLE is set.
    env = {key: value for key, value in os.environ.items() if key != "AWS_CA_BUNDLE"}
    with _running(words, folder, port=port, env=env) as process:
        yield Server(name, port, process.pid, data, is_registry=True)


@contextmanager
def running_nginx(folder: Path) -> Iterator[Server]:
    """Run nginx: sendfile for GET, WebDAV for PUT; both without any hash."""
    for part in ("root", "temporary"):
        (folder / part).mkdir(parents=True)
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; {'user root;' if os.getuid() == 0 else ''} worker_processes 2;\n"
        f"pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 2048; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n"
        f"client_body_temp_path {folder}/temporary; client_max_body_size 0;\n"
        "client_body_buffer_size 1m; large_client_header_buffers 4 64k;\n"
        "types {} default_type application/octet-stream;\n"
        f"server {{ listen {HOST}:{port}; root {folder}/root; dav_methods PUT; }} }}\n"
    )
    nginx = which("nginx") or "nginx"
    with _running([nginx, "-c", str(config), "-p", str(folder)], folder, port=port) as process:
        yield Server("nginx", port, process.pid, folder / "root", is_registry=False)


def which(program: str) -> str | None:
    """Return where a program is, system folders included, or None."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def _running(
    command: Sequence[str],
    folder: Path,
    *,
    port: int = 0,
    stdout: int | None = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends; with a port, wait until it accepts connections."""
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=stdout, stderr=log, text=True, env=env)
        try:
            if port:
                _await_port(process, port, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _await_port(process: subprocess.Popen[str], port: int, log: IO[str]) -> None:
    deadline_s = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"{process.args!r} ended: {log.read()[-2000:]}")
        with suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r} did not accept connections")


def _announced(process: subprocess.Popen[str]) -> tuple[dict[str, int], str]:
    """Return the ports of blobd's fronts, and the first administrator's token."""
    ports: dict[str, int] = {}
    token = ""
    while process.stdout is not None:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("blobd did not start; see its log")
        label, _, rest = line.strip().partition("  ")
        match label:
            case "registry" | "blob API":
                ports[label] = urlsplit(rest.strip()).port or 0
            case "token":
                token = rest.strip()
            case "try":
                break
            case _:
                pass
    return ports, token


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Return this process's environment, less blobd's settings, finding the blobd beside bench."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBD_")}
    return kept | {"PYTHONPATH": str(Path(blobd.__file__).parent.parent), "PYTHONUNBUFFERED": "1"}
