"""Listening sockets: from a setting to a bound socket, and back to something to print."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from blobd.errors import ConfigInvalid

_HOST_PORT = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]:/]+)):(?P<port>[0-9]{1,5})"
)
BACKLOG = 4096
"""How many connections may wait to be accepted; the kernel bounds it by `net.core.somaxconn`.

One more waits for its client to try again, a second later: as many as come in a burst from one
client should leave room for others'. A server of the socket must ask for it again, because
libraries listen anew.
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a front listens: a host and port, or the path of a unix socket."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, key: str, text: str) -> Address:
        """Read a setting. Raises ConfigInvalid that names it."""
        if text.startswith("unix:") and len(text) > len("unix:"):
            return cls("", 0, text.removeprefix("unix:"))
        match = _HOST_PORT.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise ConfigInvalid(f"{key} = {text!r}: must be host:port, [ipv6]:port or unix:/path")
        return cls(match["six"] or match["host"], int(match["port"]), "")

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def bind(key: str, address: Address) -> socket.socket:
    """Return a listening socket. Raises ConfigInvalid that names the setting and the reason."""
    try:
        if address.path:
            return _bind_unix(Path(address.path))
        infos = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = infos[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
            bound.listen(BACKLOG)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        where_text = address.path or f"{address.host}:{address.port}"
        raise ConfigInvalid(f"{key} = {where_text!r}: cannot listen there: {error}") from error
    bound.settimeout(0)
    return bound


def _bind_unix(path: Path) -> socket.socket:
    """Bind a unix socket; one that a dead daemon left behind is replaced."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError("another process listens there")
            path.unlink()
        bound.bind(str(path))
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    bound.settimeout(0)
    return bound


def url_of(bound: socket.socket) -> str:
    """Return what a person can type."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if bound.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"
