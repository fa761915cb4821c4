"""`blobd serve`: check what is exposed, bind, and keep the workers running.

One worker runs in this process. Several are processes of their own that inherit the listening
sockets, so that a worker that dies takes no connection with it but its own, and is replaced. What
a request needs is in the backend or the catalog; what the workers count is added up by
`/metrics`, in memory that is made here before they start (`series.py`).
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import uvloop

from blobd import __version__
from blobd.app import begin, open_daemon
from blobd.cpus import usable_cpus
from blobd.errors import ConfigInvalid
from blobd.logs import configure_logs
from blobd.series import SharedSeries
from blobd.wire.listen import Address, bind, url_of
from blobd.wire.origin import Origins
from blobd.worker import Brief, run_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from blobd.app import FirstAdministrator
    from blobd.config import Config

_RESTART_PAUSE_S = 1.0

_log = logging.getLogger("blobd")


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises ConfigInvalid."""
    configure_logs(config.log)
    listeners = {
        section: bind(f"{section}.listen", address)
        for section, address in check_addresses(config).items()
    }
    count = config.server.workers or usable_cpus()
    if config.store.backend == "memory":
        count = 1  # no other process could see what this one keeps
    if count == 1:

        def ready(first: FirstAdministrator | None) -> None:
            _announce(config, listeners, first)

        uvloop.run(run_worker(config, listeners, has_jobs=True, ready=ready))
        return 0
    first = uvloop.run(_prepare(config))
    return _Supervisor(config, listeners, count).run(first)


async def _prepare(config: Config) -> FirstAdministrator | None:
    """Make folders and migrate the catalog once, where a wrong setting can still be told.

    Returns the first administrator, where this is the first start.
    """
    async with open_daemon(config) as daemon:
        return await begin(daemon)


class _Supervisor:
    """Starts workers, replaces dead ones, and passes a request to stop on to them."""

    def __init__(self, config: Config, listeners: Mapping[str, socket.socket], count: int) -> None:
        self._config = config
        self._listeners = listeners
        self._count = count
        self._workers: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}
        """Index and process, by pid."""
        self._starting = False
        self._stopping = False
        limits = config.limits
        share = replace(
            limits,
            bytes_in_flight_max_bytes=limits.bytes_in_flight_max_bytes // count,
            max_uploads=-(-limits.max_uploads // count),
        )
        self._worker_config = replace(config, limits=share)
        self._series = SharedSeries.make(count)

    def run(self, first: FirstAdministrator | None) -> int:
        """Return when all workers have stopped: 0 if they were asked to, 1 otherwise."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        waits = []
        for index in range(self._count):
            reading, writing = os.pipe()
            self._start(index, ready=writing)
            os.close(writing)
            waits.append(reading)
        answers = [_reads_one_byte(reading) for reading in waits]
        code = 0
        if all(answers):
            _announce(self._config, self._listeners, first)
        elif not self._stopping:
            code = 1
            self._stop(signal.SIGTERM, None)
        while self._workers:
            pid, status = os.waitpid(-1, 0)
            if pid not in self._workers:
                continue
            index, process = self._workers.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            self._series.retire(index)
            if not self._stopping:
                _log.error("worker %d ended with code %d", pid, process.returncode)
                time.sleep(_RESTART_PAUSE_S)
                self._start(index, ready=None)
            elif process.returncode not in (0, -signal.SIGTERM):
                code = 1
        return code

    def _stop(self, number: int, frame: object) -> None:  # noqa: ARG002
        self._stopping = True
        if not self._starting:
            self._end()

    def _end(self) -> None:
        # While any process has them open, the kernel goes on queueing connections.
        for bound in self._listeners.values():
            bound.close()
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # Popen's way would reap a dead one, unseen by `run`

    def _start(self, index: int, *, ready: int | None) -> None:
        """Start a worker, unless a stop came before; one that comes meanwhile is made up for."""
        self._starting = True
        try:
            if not self._stopping:
                self._spawn(index, ready)
        finally:
            self._starting = False
            if self._stopping:
                self._end()

    def _spawn(self, index: int, ready: int | None) -> None:
        numbers = {section: bound.fileno() for section, bound in self._listeners.items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "blobd.worker"],
            stdin=subprocess.PIPE,
            pass_fds=(*numbers.values(), self._series.fd, *(() if ready is None else (ready,))),
        )
        brief = Brief(
            self._worker_config,
            numbers,
            ready,
            index=index,
            count=self._count,
            series=self._series.fd,
        )
        if process.stdin is None:
            raise RuntimeError("the worker has no standard input")
        with process.stdin as stdin:
            pickle.dump(brief, stdin)
        self._workers[process.pid] = (index, process)


def _reads_one_byte(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) == b"1"
    finally:
        os.close(pipe)


def check_addresses(config: Config) -> dict[str, Address]:
    """Return where each front is to listen, by its section, if nothing is exposed by mistake.

    Raises ConfigInvalid.
    """
    addresses = {}
    for section, text in (
        ("registry", config.registry.listen),
        ("blob_api", config.blob_api.listen),
    ):
        if text:
            addresses[section] = Address.parse(f"{section}.listen", text)
    if not addresses:
        raise ConfigInvalid("registry.listen and blob_api.listen are both empty: one is needed")
    registry, blob_api = addresses.get("registry"), addresses.get("blob_api")
    if registry is not None and not registry.private and not config.registry.auth:
        raise ConfigInvalid(
            f"registry.listen = {config.registry.listen!r}: must be a loopback address or a unix "
            "socket where registry.auth is false (--no-auth): everyone may push, pull and delete"
        )
    Origins(public_url=config.registry.public_url, trusted_proxies=config.registry.trusted_proxies)
    if blob_api is not None and not blob_api.private and not config.blob_api.tokens:
        raise ConfigInvalid(
            f"blob_api.listen = {config.blob_api.listen!r}: must be a loopback address or a unix "
            "socket unless blob_api.tokens names at least one token"
        )
    return addresses


def _announce(
    config: Config, listeners: Mapping[str, socket.socket], first: FirstAdministrator | None
) -> None:
    lines = [f"blobd {__version__}, data in {config.store.path}"]
    registry = listeners.get("registry")
    if registry is not None:
        lines.append(f"registry  {url_of(registry)}")
    if "blob_api" in listeners:
        lines.append(f"blob API  {url_of(listeners['blob_api'])}")
    if registry is not None:
        lines += _how_to_begin(config, url_of(registry), first)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _how_to_begin(
    config: Config, registry_url: str, first: FirstAdministrator | None
) -> Iterator[str]:
    """Yield what to type next."""
    scheme, _, host = (config.registry.public_url or registry_url).rstrip("/").partition("://")
    if first is not None:
        yield f"token     {first.secret}"
        yield f"          of the administrator {first.name}; it is not shown again"
    if not host:
        return
    login = f"{host} -u {first.name} -p {first.secret}" if first is not None else ""
    owner = "demo" if first is None else first.name
    verify = "" if scheme == "https" else "--tls-verify=false "
    if login:
        yield f"log in    docker login {login}"
        yield f"or        skopeo login {verify}{login}"
    yield f"try       docker tag IMAGE {host}/{owner}/image && docker push {host}/{owner}/image"
    yield (
        f"or        skopeo copy {verify.replace('--', '--dest-')}"
        f"docker-daemon:IMAGE docker://{host}/{owner}/image:latest"
    )
