"""Where requests come from, and by which URL: whom the operator trusts is believed, nobody else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from blobd.errors import ConfigInvalid
from blobd.http.origin import Origins

if TYPE_CHECKING:
    from aiohttp import web


class Transport:
    """A connection from somewhere."""

    def __init__(self, peer: object) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._peer if name == "peername" else default


def request(peer: object, *lines: tuple[str, str], **headers: str) -> web.BaseRequest:
    """Return a request with headers by name, and lines of headers that may be repeated."""
    named = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    named.extend(lines)
    return make_mocked_request("GET", "/", named, transport=Transport(peer))


NEAR, FAR = ("10.1.2.3", 4711), ("198.51.100.7", 4711)


def origins(public_url: str = "", *trusted: str) -> Origins:
    return Origins(public_url=public_url, trusted_proxies=trusted)


def test_without_proxies_the_connection_tells() -> None:
    forged = request(FAR, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https", Host="a:5000")
    assert origins().address(forged) == "198.51.100.7"
    assert origins().base_url(forged) == "http://a:5000"


def test_a_trusted_proxy_is_believed_as_far_as_the_last_that_is_trusted() -> None:
    some = origins("", "10.0.0.0/8")
    said = "192.0.2.66, 203.0.113.9, 10.9.9.9"
    behind = request(
        NEAR, X_Forwarded_For=said, X_Forwarded_Proto="HTTPS", X_Forwarded_Host="r.example"
    )
    assert some.address(behind) == "203.0.113.9"
    assert some.base_url(behind) == "https://r.example"
    assert some.address(request(FAR, X_Forwarded_For=said)) == "198.51.100.7"
    assert some.address(request(NEAR)) == "10.1.2.3"


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["192.0.2.66", "203.0.113.9"], "203.0.113.9"),
        (["192.0.2.66", "203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        (["192.0.2.66", "203.0.113.9", "10.9.9.9"], "203.0.113.9"),
        (["203.0.113.9,, 10.9.9.9 ,"], "203.0.113.9"),
        (["10.7.7.7, 10.9.9.9"], "10.7.7.7"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, ::ffff:10.9.9.9"], "203.0.113.9"),
        # what is no address ends the walk at the proxy that said so
        (["nonsense"], "10.1.2.3"),
        (["203.0.113.9, unknown"], "10.1.2.3"),
        (["203.0.113.9, unknown, 10.9.9.9"], "10.9.9.9"),
        (["10.9.9.9 actor=admin"], "10.1.2.3"),
        (["fe80::1%25 actor=admin"], "10.1.2.3"),
        (["fe80::1%eth0"], "10.1.2.3"),
        (["[2001:db8::1]x"], "10.1.2.3"),
        (["1.2.3.4:x"], "10.1.2.3"),
        (["01.2.3.4"], "10.1.2.3"),
        (['"203.0.113.9"'], "10.1.2.3"),
    ],
)
def test_all_lines_are_walked_from_the_nearest_proxy(lines: list[str], address: str) -> None:
    """RFC 9110, section 5.3: a client's own line before the proxy's is the list's beginning."""
    said = request(NEAR, *(("X-Forwarded-For", line) for line in lines))
    assert origins("", "10.0.0.0/8").address(said) == address


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=40), max_size=3))
def test_the_address_is_always_one(lines: list[str]) -> None:
    """What goes into the audit is an address, whatever was sent."""
    some = origins("", "10.0.0.0/8")
    for name in ("X-Forwarded-For", "Forwarded"):
        ip_address(some.address(request(NEAR, *((name, line) for line in lines))))
        ip_address(some.address(request(NEAR, *((name, f"for={line}") for line in lines))))


def chain(*hops: tuple[str, str, str]) -> list[web.BaseRequest]:
    """Return what proxies say, as the headers of RFC 7239 and as the older ones."""
    addresses, schemes, hosts = (", ".join(said) for said in zip(*hops, strict=True))
    element = ", ".join(f'for={a};Proto={s};host="{h}"' for a, s, h in hops)
    return [
        request(NEAR, Forwarded=element, Host="inner:5000"),
        request(
            NEAR,
            X_Forwarded_For=addresses,
            X_Forwarded_Proto=schemes,
            X_Forwarded_Host=hosts,
            Host="inner:5000",
        ),
    ]


def test_the_client_came_by_what_the_last_trusted_entry_says() -> None:
    """RFC 7239, section 4: each proxy adds to the end; the end is the nearest one's."""
    some = origins("", "10.0.0.0/8")
    for said in chain(
        ("192.0.2.66", "http", "forged.example"),
        ("203.0.113.9", "https", "r.example:8443"),
        ("10.9.9.9", "http", "middle.example"),
    ):
        assert some.address(said) == "203.0.113.9"
        assert some.base_url(said) == "https://r.example:8443"
    for said in chain(("192.0.2.66", "https", "forged.example"), ("203.0.113.9", "http", "a.b")):
        assert some.address(said) == "203.0.113.9"
        assert some.base_url(said) == "http://a.b"


@pytest.mark.parametrize("more", [{}, {"X_Forwarded_For": "203.0.113.9"}])
@pytest.mark.parametrize(
    ("schemes", "scheme"),
    [("http, https", "https"), ("https, http", "https"), ("http, http", "http"), ("x, y", "http")],
)
def test_lists_longer_than_those_of_addresses(
    schemes: str, scheme: str, more: dict[str, str]
) -> None:
    """TLS ended somewhere; of hosts the nearest proxy's counts."""
    said = request(NEAR, X_Forwarded_Proto=schemes, X_Forwarded_Host="forged.example, a.b", **more)
    assert origins("", "10.0.0.0/8").base_url(said) == f"{scheme}://a.b"
    assert origins().base_url(said) == "http://localhost"


def test_what_one_proxy_leaves_out_the_next_one_says() -> None:
    some = origins("", "10.0.0.0/8")
    said = request(NEAR, Forwarded="for=203.0.113.9;proto=https, for=10.9.9.9;host=a.b;proto=http")
    assert some.base_url(said) == "https://a.b"


@pytest.mark.parametrize(
    "element",
    [
        'for="203.0.113.9', 'for=203.0.113.9"', "203.0.113.9", "for=", "for = 203.0.113.9",
        "for=203.0.113.9;for=192.0.2.66", "for=203.0.113.9;", "for=203.0.113.9 proto=https",
        'for="x,for=203.0.113.9"', "for=_hidden", "for=unknown",
    ],
)  # fmt: skip
def test_an_element_that_cannot_be_read_ends_the_walk(element: str) -> None:
    said = request(NEAR, Forwarded=f"for=192.0.2.66;proto=https, {element}", Host="a.b")
    some = origins("", "10.0.0.0/8")
    assert some.address(said) == "10.1.2.3"
    assert some.base_url(said) == "http://a.b"


def test_forwarded_is_read_as_it_is_written() -> None:
    """RFC 7239: names in any case, quoted values, IPv6 in brackets, ports, several lines."""
    some = origins("", "10.0.0.0/8")
    said = request(
        NEAR,
        ("Forwarded", "for=192.0.2.66"),
        ("Forwarded", 'by=_me ; For="[2001:DB8::1]:4711";PROTO=HTTPS;host="r.example"'),
    )
    assert some.address(said) == "2001:db8::1"
    assert some.base_url(said) == "https://r.example"
    assert some.address(request(FAR, Forwarded="for=192.0.2.66")) == "198.51.100.7"


def test_a_clients_forwarded_does_not_count_beside_a_proxys_older_headers() -> None:
    said = request(NEAR, Forwarded="for=192.0.2.66;host=forged", X_Forwarded_For="203.0.113.9")
    assert origins("", "10.0.0.0/8").address(said) == "203.0.113.9"


@pytest.mark.parametrize(
    "host",
    ["a b", 'a"', "a/b", "a@b", "a..b", "-a", "[::1", "[1.2.3.4]", "[x]", "a:b", "a:99999",
     "a:0", "a" * 64, "a." * 140, "<b>", ""],
)  # fmt: skip
def test_an_invalid_host_is_replaced(host: str) -> None:
    """RFC 3986, section 3.2.2: no such host gets into a realm or a Location."""
    some = origins("", "10.0.0.0/8")
    assert some.base_url(request(NEAR, X_Forwarded_Host=host, Host="a.b")) == "http://a.b"
    assert some.base_url(request(NEAR, Host=host)) == "http://localhost"
    with pytest.raises(ConfigInvalid, match=r"registry\.public_url"):
        origins(f"https://{host}")


@pytest.mark.parametrize("host", ["a", "a.b.", "A-b_c:5000", "[2001:db8::1]:443", "1.2.3.4"])
def test_a_valid_host_is_kept(host: str) -> None:
    assert origins().base_url(request(FAR, Host=host)) == f"http://{host}"


def test_over_a_unix_socket_whoever_connects_is_the_proxy() -> None:
    behind = request("", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https", Host="r.example")
    assert origins().address(behind) == "203.0.113.9"
    assert origins().base_url(behind) == "https://r.example"


def test_a_public_url_is_the_whole_truth() -> None:
    some = origins("https://r.example:8443/")
    assert some.base_url(request(FAR, Host="evil.example")) == "https://r.example:8443"


@given(st.text(max_size=40))
def test_a_host_header_never_leaves_the_quotes_of_a_challenge(host: str) -> None:
    url = origins().base_url(request(FAR, Host=host.encode(errors="replace").decode()))
    assert url.startswith("http://")
    assert not set(url) & set('"\\\r\n ,')


@pytest.mark.parametrize("url", ["example.org", "https://", "https://a/b", "ftp://a", 'http://a"'])
def test_a_public_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"registry\.public_url"):
        origins(url)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"registry\.trusted_proxies.*10\.0\.0\.1/8"):
        origins("", "10.0.0.1/8")
