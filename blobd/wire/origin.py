"""Where a request comes from, and by which URL the client came: behind proxies, as they say.

A proxy's word (X-Forwarded-For, -Proto, -Host) counts where the connection comes from an address
that the operator trusts, or over a unix socket. Of X-Forwarded-For the last address counts that is
no trusted proxy's: whoever wrote those before it, nobody trusted vouches for.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    from aiohttp import web

_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,255}|\[[0-9a-fA-F:.]{2,64}\])(?::[0-9]{1,5})?")
_URL = re.compile(rf"https?://{_HOST.pattern}")


class Origins:
    """Reads requests."""

    def __init__(self, *, public_url: str, trusted_proxies: Sequence[str]) -> None:
        """`public_url` is how clients reach the front; empty: as each request says.

        Raises ConfigInvalid that names the setting.
        """
        if public_url and _URL.fullmatch(public_url.rstrip("/")) is None:
            raise ConfigInvalid(
                f"registry.public_url = {public_url!r}: must be http(s)://host or "
                "http(s)://host:port, without a path"
            )
        self._public_url = public_url.rstrip("/")
        self._trusted = tuple(_network(text) for text in trusted_proxies)
        self._is_trusted = lru_cache(maxsize=4096)(self._find_trusted)

    def address(self, request: web.BaseRequest) -> str:
        """Return the address of the client, as far as it can be known."""
        nearest = _peer(request)
        if not self._is_trusted(nearest):
            return nearest
        said = [text.strip() for text in request.headers.get("X-Forwarded-For", "").split(",")]
        for address in reversed([text for text in said if text]):
            nearest = address[:64]
            if not self._is_trusted(nearest):
                break
        return nearest

    def base_url(self, request: web.BaseRequest) -> str:
        """Return scheme and host by which the client came, without a slash at the end."""
        if self._public_url:
            return self._public_url
        scheme, host = "http", request.headers.get("Host", "")
        if self._is_trusted(_peer(request)):
            said = request.headers.get("X-Forwarded-Proto", scheme).strip().lower()
            scheme = said if said in {"http", "https"} else scheme
            host = request.headers.get("X-Forwarded-Host", host).strip()
        return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"

    def _find_trusted(self, text: str) -> bool:
        if not text:
            return True
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _peer(request: web.BaseRequest) -> str:
    """Return the address that the connection comes from; empty for a unix socket's."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigInvalid(
            f"registry.trusted_proxies = {text!r}: must be an address or a network such as "
            f"10.0.0.0/8: {error}"
        ) from error
