"""`blobd serve`: check what is exposed, bind, and keep the workers running.

One worker runs in this process. Several are forked from it once everything they need is imported,
so that they share those pages, and inherit the listening sockets, so that a worker that dies takes
no connection with it but its own. One that dies is replaced the same way. What a request needs is
in the backend or the catalog; what the workers count is added up by `/metrics`, in memory that is
made here before they start (`series.py`).

A supervisor never has a thread, an event loop or an open database: a forked process would have
half of each. What needs them before the workers start is done in a process of its own.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from blobd import __version__
from blobd.app import Shared, begin, load, open_daemon, protect_secrets, share_registry, traced
from blobd.cpus import usable_cpus
from blobd.descriptors import raise_limit
from blobd.errors import ConfigInvalid
from blobd.forks import answer_of, spawn
from blobd.http.listen import Address, bind, url_of
from blobd.http.origin import Origins
from blobd.limits import Accounts
from blobd.logs import configure_logs
from blobd.series import SharedSeries
from blobd.worker import run_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from blobd.app import FirstAdministrator
    from blobd.config import Config

_RESTART_PAUSE_S = 1.0
_READY_LOOK_S = 0.02
_STOPS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOPS, signal.SIGCHLD)
_STOPPED = (0, *(-number for number in _STOPS))
"""Exit codes of a worker that was asked to stop, maybe before it could listen for that."""

_log = logging.getLogger("blobd")


def serve(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises ConfigInvalid."""
    configure_logs(config.log)
    raise_limit()
    for line in config.ignored:
        _log.warning(line)
    listeners = {
        section: bind(f"{section}.listen", address)
        for section, address in check_addresses(config).items()
    }
    protect_secrets(config)  # after the sockets, whose modes are as the umask was
    count = config.server.workers or usable_cpus()
    if config.store.backend == "memory":
        count = 1  # no other process could see what this one keeps
    if count == 1:

        def ready(first: FirstAdministrator | None) -> None:
            _announce(config, listeners, first)

        uvloop.run(run_worker(config, listeners, has_jobs=True, ready=ready))
        return 0
    load(config)
    return _Supervisor(config, listeners, count).run()


class _Supervisor:
    """Starts workers, replaces dead ones, and passes a request to stop on to them.

    It waits for signals, which are blocked meanwhile: none comes between a fork and its record.
    """

    def __init__(self, config: Config, listeners: Mapping[str, socket.socket], count: int) -> None:
        self._config = config
        self._listeners = listeners
        self._count = count
        self._workers: dict[int, int] = {}
        """Index by pid."""
        self._due: dict[int, float] = {}
        """When to replace a dead worker, by index."""
        self._stopping = False
        self._series = SharedSeries(count)
        self._accounts = Accounts(config, count)
        self._attempts = share_registry(config)
        self._trace_at = traced(config)

    def run(self) -> int:
        """Return when all workers have stopped: 0 if they were asked to, 1 otherwise.

        Raises what preparing the store and the catalog raised.
        """
        first = _prepared(self._config)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.collect()
        gc.freeze()  # a collection in a worker would write to every object, and unshare its page
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        for index in range(self._count):
            self._start(index, ready=writing)
        os.close(writing)
        code, waited_for = 0, self._count
        while self._workers or self._due:
            is_to_stop = self._wait(_READY_LOOK_S if waited_for else None)
            if waited_for:
                waited_for -= _bytes_in(reading)
                if not waited_for and not self._stopping:
                    _announce(self._config, self._listeners, first)
            for index, pid, ended in self._reaped():
                if self._stopping:
                    code = code if ended in _STOPPED else 1
                elif waited_for:
                    code = 1
                    self._stop()
                else:
                    _log.error("worker %d ended with code %d", pid, ended)
                    self._due[index] = time.monotonic() + _RESTART_PAUSE_S
            if is_to_stop:  # what had ended before was not stopped
                self._stop()
            for index in [index for index, at in self._due.items() if at <= time.monotonic()]:
                self._replace(index)
        os.close(reading)
        return code

    def _wait(self, timeout_s: float | None) -> bool:
        """Wait until something may have happened; return whether it was a request to stop."""
        if self._due:
            timeout_s = max(0, min(self._due.values()) - time.monotonic())
        if timeout_s is None:
            number = signal.sigwait(_SIGNALS)
        else:
            came = signal.sigtimedwait(_SIGNALS, timeout_s)
            number = came.si_signo if came is not None else signal.SIGCHLD
        return number in _STOPS

    def _reaped(self) -> Iterator[tuple[int, int, int]]:
        """Yield index, pid and exit code of each worker that has ended."""
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            index = self._workers.pop(pid, None)
            if index is not None:
                self._series.retire(index)
                self._accounts.retire(index)
                yield index, pid, os.waitstatus_to_exitcode(status)

    def _stop(self) -> None:
        self._stopping = True
        self._due.clear()
        # While any process has them open, the kernel goes on queueing connections.
        for bound in self._listeners.values():
            bound.close()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)  # none is reaped here: the pid is its own

    def _replace(self, index: int) -> None:
        """Start a worker in the place of one that died; later, if no process can be had now."""
        self._trace_at = traced(self._config)
        try:
            self._start(index, ready=None)
        except OSError as error:
            _log.error("no worker can be started now, tried again: %s", error.strerror)
            self._due[index] = time.monotonic() + _RESTART_PAUSE_S
        else:
            del self._due[index]

    def _start(self, index: int, *, ready: int | None) -> None:
        """Fork a worker. It writes a byte to `ready` once it accepts connections."""

        def is_ready(_: object) -> None:
            if ready is not None:
                os.write(ready, b"1")
                os.close(ready)

        def work() -> None:
            uvloop.run(
                run_worker(
                    self._config,
                    self._listeners,
                    has_jobs=index == 0,
                    ready=is_ready,
                    shared=Shared(
                        self._series.values(index),
                        self._accounts.shares(index),
                        self._attempts,
                        self._trace_at,
                    ),
                )
            )

        self._workers[spawn(work, name=f"blobd-{index}")] = index


def _prepared(config: Config) -> FirstAdministrator | None:
    """Make folders and migrate the catalog once, while misconfiguration can still be reported.

    Returns the first administrator, where this is the first start.
    """
    return answer_of(lambda: uvloop.run(_prepare(config)), name="blobd-prepare")


async def _prepare(config: Config) -> FirstAdministrator | None:
    async with open_daemon(config) as daemon:
        return await begin(daemon)


def _bytes_in(pipe: int) -> int:
    """Return how many bytes came through a pipe since the last time, without waiting."""
    try:
        return len(os.read(pipe, 4096))
    except BlockingIOError:
        return 0


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
    Origins(
        public_url=config.registry.public_url,
        trusted_proxies=config.registry.trusted_proxies,
        pages_url=config.pages.public_url,
    )
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
    if first is not None:
        login, owner = f"{host} -u {first.name} -p {first.secret}", first.name
    elif config.registry.auth:
        login, owner = f"{host} -u USER", "USER"
    else:
        login, owner = "", "demo"
    verify = "" if scheme == "https" else "--tls-verify=false "
    if login:
        yield f"log in    docker login {login}"
        yield f"or        skopeo login {verify}{login}"
    yield f"try       docker tag IMAGE {host}/{owner}/image && docker push {host}/{owner}/image"
    yield (
        f"or        skopeo copy {verify.replace('--', '--dest-')}"
        f"docker-daemon:IMAGE docker://{host}/{owner}/image:latest"
    )
