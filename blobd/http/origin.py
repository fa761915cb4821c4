"""Where a request comes from, and by which URL the client came: behind proxies, as they say.

Each proxy adds to a list what it saw of the connection that it took: `Forwarded` (RFC 7239), or
X-Forwarded-For, -Proto and -Host. The lists are read from their end, which the nearest proxy wrote.
An entry counts if its writer is trusted: the peer of the connection for the last entry
(an address in `registry.trusted_proxies`, or a unix socket), and for each entry before it the
address that the entry behind it names. What stands before an untrusted address anybody could have
written. Several lines of one header are one list (RFC 9110, section 5.3).

A request that has any X-Forwarded-* header is read by those alone: most proxies set them and pass
on the `Forwarded` of their clients.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING

from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from aiohttp import web

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(
    rf"(?P<name>{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<ipv6>[0-9a-fA-F:.]{{2,45}})\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_HOST_MAX_CHARACTERS = 260
_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#\s]+)")
_SCHEMES = frozenset({"http", "https"})

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 RFC 9110's word
_PAIR = re.compile(rf'\s*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")\s*')
_PORT = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy says of the connection that it took; None where it says nothing valid."""

    address: str | None
    scheme: str | None
    host: str | None


class Origins:
    """Reads requests."""

    def __init__(
        self, *, public_url: str, trusted_proxies: Sequence[str], pages_url: str = ""
    ) -> None:
        """`public_url` is how clients reach the front; empty: as each request says.

        `pages_url` is the address that pages for people have of their own, if any. Raises
        ConfigInvalid that names the setting.
        """
        self._public_url = _checked_url("registry.public_url", public_url)
        self._pages_url = _checked_url("pages.public_url", pages_url)
        self._pages_host = self._pages_url.partition("://")[2].lower()
        if pages_url and self._pages_host in {"", self._public_url.partition("://")[2].lower()}:
            raise ConfigInvalid(
                f"pages.public_url = {pages_url!r}: must have another host or port than "
                "registry.public_url"
            )
        if pages_url and not public_url:
            raise ConfigInvalid(
                "pages.public_url needs registry.public_url: pages say where to pull from"
            )
        self._trusted = tuple(_network(text) for text in trusted_proxies)
        self._is_trusted = lru_cache(maxsize=4096)(self._find_trusted)

    def address(self, request: web.BaseRequest) -> str:
        """Return the address of the client, as far as trusted proxies vouch for it.

        Always an IP address in its usual form, or empty for a unix socket whose client names none.
        """
        address = _peer(request)
        for hop in self._vouched(request):
            address = hop.address or address
        return address

    def base_url(self, request: web.BaseRequest) -> str:
        """Return scheme and host by which the client came, without a slash at the end.

        The host is a valid one in any case: that of the socket where the request names none.
        """
        if self._public_url:
            return self._public_url
        scheme, host = "http", host_header(request)
        for hop in self._vouched(request):
            scheme, host = hop.scheme or scheme, hop.host or host
        return f"{scheme}://{host if is_host(host) else _own_host(request)}"

    def host(self, request: web.BaseRequest) -> str:
        """Return the host, and port if any, by which the client came."""
        return self.base_url(request).partition("://")[2]

    def own_url(self, request: web.BaseRequest) -> str:
        """Return the address that the client itself knows: the pages' own, or `base_url`."""
        return self._pages_url if self.is_for_pages(request) else self.base_url(request)

    def own_host(self, request: web.BaseRequest) -> str:
        """Return the host, and port if any, of `own_url`: what a browser sends as Origin."""
        return self.own_url(request).partition("://")[2]

    def pages_elsewhere(self, request: web.BaseRequest) -> str | None:
        """Return the address of pages where the request came to another one; None if they are here.

        Without a slash at the end.
        """
        return None if not self._pages_url or self.is_for_pages(request) else self._pages_url

    def is_for_pages(self, request: web.BaseRequest) -> bool:
        """Return whether a request came to the address that pages have of their own."""
        host = host_header(request)
        for hop in self._vouched(request):
            host = hop.host or host
        return bool(self._pages_host) and host.lower() == self._pages_host

    def _vouched(self, request: web.BaseRequest) -> Iterator[_Hop]:
        """Yield what trusted proxies say, the nearest one first and the client's own proxy last."""
        address: str | None = _peer(request)
        for hop in _hops(request):
            if address is None or not self._is_trusted(address):
                return
            yield hop
            address = hop.address

    def _find_trusted(self, text: str) -> bool:
        if not text:
            return True
        address = ipaddress.ip_address(text)
        return any(address in network for network in self._trusted)


def host_header(request: web.BaseRequest) -> str:
    """Return what a request says itself of the host that it is for."""
    return request.headers.get("Host", "").strip()


def is_host(text: str) -> bool:
    """Return whether a text is a host with or without a port, as RFC 3986 writes one in a URL."""
    match = _HOST.fullmatch(text)
    if match is None or len(text) > _HOST_MAX_CHARACTERS:
        return False
    if match["ipv6"] is not None and _is_no_ipv6(match["ipv6"]):
        return False
    return match["port"] is None or 0 < int(match["port"]) < 65536


def _hops(request: web.BaseRequest) -> Iterator[_Hop]:
    """Yield what each proxy says, the nearest one first."""
    addresses, schemes, hosts = (
        [text for line in request.headers.getall(name, ()) for text in _entries(line)]
        for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
    )
    if addresses or schemes or hosts:
        if len(schemes) > len(addresses):
            # Some proxy added a scheme but no address, so nobody can say whose scheme is whose:
            # usually TLS ended at the outer one. A client that lies here misleads itself alone.
            schemes = ["https" if "https" in map(_scheme, schemes) else "http"]
        lists = (reversed(each) for each in (addresses, schemes, hosts))
        for address, scheme, host in zip_longest(*lists, fillvalue=""):
            yield _Hop(_address(address), _scheme(scheme), host if is_host(host) else None)
        return
    entries = [text for line in request.headers.getall("Forwarded", ()) for text in _entries(line)]
    for text in reversed(entries):
        pairs = _pairs(text)
        host = pairs.get("host", "")
        yield _Hop(
            _address(pairs.get("for", "")),
            _scheme(pairs.get("proto", "")),
            host if is_host(host) else None,
        )


def _entries(line: str) -> Iterator[str]:
    """Yield the entries of a list. No value that is read here can hold a comma, quoted or not."""
    return (entry for text in line.split(",") if (entry := text.strip()))


def _pairs(text: str) -> dict[str, str]:
    """Return an element's pairs by lower-case name (RFC 7239, section 4); none if it is malformed.

    The names of pairs are unique.
    """
    found: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(text, position)
        if match is None or match[1].lower() in found:
            return {}
        value = match[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found[match[1].lower()] = value
        position = match.end()
        if position == len(text):
            return found
        if text[position] != ";":
            return {}
        position += 1


@lru_cache(maxsize=4096)
def _address(text: str) -> str | None:
    """Return an IP address in its usual form, the port taken off; None for what is none.

    `unknown` and names such as `_hidden` (RFC 7239, section 6) are none.
    """
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and _PORT.fullmatch(port) is None:
            return None
    elif text.count(":") == 1:
        text, colon, port = text.partition(":")
        if _PORT.fullmatch(colon + port) is None:
            return None
    if "%" in text or len(text) > 45:  # a zone is free text
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_no_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return True
    return False


def _scheme(text: str) -> str | None:
    scheme = text.lower()
    return scheme if scheme in _SCHEMES else None


def _peer(request: web.BaseRequest) -> str:
    """Return the address that the connection comes from; empty for a unix socket's."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    return _address(str(name[0]).partition("%")[0]) or "" if isinstance(name, tuple) else ""


def _own_host(request: web.BaseRequest) -> str:
    """Return the host and port that the connection came to."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return "localhost"
    address = _address(str(name[0]).partition("%")[0]) or "localhost"
    return f"[{address}]:{name[1]}" if ":" in address else f"{address}:{name[1]}"


def _checked_url(setting: str, text: str) -> str:
    """Return a URL of scheme and host, without a slash at the end. Raises ConfigInvalid."""
    url = text.rstrip("/")
    match = _URL.fullmatch(url)
    if text and (match is None or not is_host(match["host"])):
        raise ConfigInvalid(
            f"{setting} = {text!r}: must be http(s)://host or http(s)://host:port, without a path"
        )
    return url


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigInvalid(
            f"registry.trusted_proxies = {text!r}: must be an address or a network such as "
            f"10.0.0.0/8: {error}"
        ) from error
