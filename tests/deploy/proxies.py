"""The proxies of `deploy/`, each run by its shipped files with places of this machine in them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.daemon import which
from tests.deploy.nginx import NAME, Front, make_certificate, running_nginx, substituted
from tests.engines.ports import accepts, free_port
from tests.engines.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

DEPLOY = Path(__file__).parents[2] / "deploy"
UPSTREAM = "127.0.0.1:5000"
_APACHE_MODULES = (
    "mpm_event", "authz_core", "ssl", "headers", "proxy", "proxy_http", "reqtimeout",
    "socache_shmcb",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Proxy:
    """A program, and how it is run in front of host:port, with files in a new folder."""

    program: str
    run: Callable[[Path, str], AbstractContextManager[Front]]


def _nginx(folder: Path, upstream: str) -> AbstractContextManager[Front]:
    return running_nginx(DEPLOY / "nginx.conf", folder, {UPSTREAM: upstream})


@contextmanager
def _haproxy(folder: Path, upstream: str) -> Iterator[Front]:
    port, certificate, key = _prepare(folder)
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    file = _write(
        folder,
        "haproxy.cfg",
        {
            "bind :443": f"bind 127.0.0.1:{port}",
            f"/etc/ssl/{NAME}.both.pem": str(both),
            UPSTREAM: upstream,
        },
    )
    with _running(folder, port, certificate, "haproxy", "-db", "-f", str(file)) as front:
        yield front


@contextmanager
def _caddy(folder: Path, upstream: str) -> Iterator[Front]:
    port, certificate, key = _prepare(folder)
    file = _write(
        folder,
        "Caddyfile",
        {f"{NAME} {{": f"https://127.0.0.1:{port} {{\n\ttls {certificate} {key}",
         UPSTREAM: upstream},
    )  # fmt: skip
    text = file.read_text()
    file.write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
    command = ("caddy", "run", "--adapter", "caddyfile", "--config", str(file))
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with _running(folder, port, certificate, *command, **home) as front:
        yield front


@contextmanager
def running_apache(folder: Path, upstream: str, *, ping: bool = True) -> Iterator[Front]:
    """Run Apache; without `ping` it sends all of a body before it reads anything."""
    port, certificate, key = _prepare(folder)
    file = _write(
        folder,
        "apache.conf",
        {
            "<VirtualHost *:443>": f"<VirtualHost 127.0.0.1:{port}>",
            f"/etc/ssl/{NAME}.pem": str(certificate),
            f"/etc/ssl/{NAME}.key": str(key),
            "${APACHE_LOG_DIR}": str(folder),
            " ping=60": " ping=60" if ping else "",
            UPSTREAM: upstream,
        },
    )
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in _APACHE_MODULES
    )
    owner = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    main = folder / "main.conf"
    main.write_text(
        f"ServerRoot {folder}\nListen 127.0.0.1:{port}\nPidFile {folder}/pid\n"
        f"DefaultRuntimeDir {folder}\nMutex file:{folder}\nErrorLog {folder}/error.log\n"
        f"ServerName localhost\n{modules}{owner}\n"
        f"Include {file}\n"
    )
    command = ("apache2", "-D", "FOREGROUND", "-f", str(main))
    with _running(folder, port, certificate, *command) as front:
        yield front


@contextmanager
def _traefik(folder: Path, upstream: str) -> Iterator[Front]:
    port, certificate, key = _prepare(folder)
    routes = _write(
        folder,
        "traefik-blobd.yaml",
        {
            f"Host(`{NAME}`)": "PathPrefix(`/`)",
            f"/etc/ssl/{NAME}.pem": str(certificate),
            f"/etc/ssl/{NAME}.key": str(key),
            UPSTREAM: upstream,
        },
    )
    file = _write(
        folder,
        "traefik.yaml",
        {'":443"': f'"127.0.0.1:{port}"', "/etc/traefik/blobd.yaml": str(routes)},
    )
    with _running(folder, port, certificate, "traefik", f"--configFile={file}") as front:
        yield front


PROXIES = {
    "nginx": Proxy("nginx", _nginx),
    "haproxy": Proxy("haproxy", _haproxy),
    "caddy": Proxy("caddy", _caddy),
    "apache": Proxy("apache2", running_apache),
    "traefik": Proxy("traefik", _traefik),
}


def _prepare(folder: Path) -> tuple[int, Path, Path]:
    folder.mkdir()
    return free_port(), *make_certificate(folder)


def _write(folder: Path, name: str, replaced: dict[str, str]) -> Path:
    """Write a shipped file with places of this machine in it."""
    file = folder / name
    shipped = (DEPLOY / "proxies" / name).read_text(encoding="utf-8")
    file.write_text(substituted(shipped, replaced), encoding="utf-8")
    return file


@contextmanager
def _running(
    folder: Path, port: int, certificate: Path, program: str, *options: str, **environment: str
) -> Iterator[Front]:
    command = [which(program) or program, *options]
    process = Process(
        program, command, log=folder / "log", environment={**os.environ, **environment}
    )
    process.start()
    try:
        front = Front(port, certificate)
        process.wait(lambda: accepts(port) and _serves(front))
        yield front
    finally:
        process.kill()


def _serves(front: Front) -> bool:
    """Return whether it has its routes and its certificate: some listen before."""
    connection = front.connect()
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
